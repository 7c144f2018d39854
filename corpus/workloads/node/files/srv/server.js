const server = require('http').createServer((request, response) => response.end('hello\n'));
server.listen(80);
process.on('SIGTERM', () => process.exit(0));
