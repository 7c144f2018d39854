PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE containers (
    key             INTEGER PRIMARY KEY,
    digest          BLOB NOT NULL UNIQUE, -- SHA-256 of the JSON form of all of it
    id              TEXT NOT NULL,
    name            TEXT NOT NULL,
    image           TEXT NOT NULL,
    image_id        TEXT NOT NULL,
    image_digest    TEXT NOT NULL,
    compose_project TEXT NOT NULL,
    compose_service TEXT NOT NULL,
    swarm_service   TEXT NOT NULL,
    user            TEXT NOT NULL,
    network_mode    TEXT NOT NULL
) STRICT;
INSERT INTO containers VALUES(1,X'c508432de161a71e59f29547cde4cbaf1fa385716ff0cd58728228da235457de','0000000000000000000000000000000000000000000000000000000000000002','db','postgres:17','sha256:postgres:17','','shop','db','','','');
INSERT INTO containers VALUES(2,X'901090d72c69694a3bb0d1a39460748c9a6271a230e55cd035f3262f7eaa1eb6','0000000000000000000000000000000000000000000000000000000000000001','web','nginx:1.27','sha256:nginx:1.27','','shop','web','','','');
CREATE TABLE labels (
    container INTEGER NOT NULL REFERENCES containers (key) ON DELETE CASCADE,
    label     TEXT NOT NULL,
    value     TEXT NOT NULL,
    PRIMARY KEY (container, label)
) STRICT, WITHOUT ROWID;
INSERT INTO labels VALUES(1,'com.docker.compose.project','shop');
INSERT INTO labels VALUES(1,'com.docker.compose.service','db');
INSERT INTO labels VALUES(2,'com.docker.compose.project','shop');
INSERT INTO labels VALUES(2,'com.docker.compose.service','web');
CREATE TABLE runs (
    key           INTEGER PRIMARY KEY,
    id            TEXT NOT NULL UNIQUE,
    container     INTEGER NOT NULL REFERENCES containers (key),
    digest        BLOB NOT NULL, -- SHA-256 of the JSON form of all of it
    moments       TEXT NOT NULL, -- JSON of what changes although nothing happens
    observed_from TEXT NOT NULL,
    observed_to   TEXT NOT NULL,
    started       TEXT,
    ended         TEXT NOT NULL,
    seconds       REAL NOT NULL,
    existed       INTEGER NOT NULL,
    running       INTEGER NOT NULL,
    complete      INTEGER NOT NULL,
    granted       TEXT,          -- JSON list of names
    processes     INTEGER NOT NULL,
    checks        INTEGER NOT NULL,
    lost          INTEGER NOT NULL
) STRICT;
INSERT INTO runs VALUES(1,'observation/db/2',1,X'66060960c228cf28bcc74c849aa9cd296f0acba3cfda7a3afe2f606794b297b9','{"observationEnd":"2026-08-01T12:02:00Z","ended":"2026-08-01T12:02:00Z"}','2026-08-01T12:00:00.000000000Z','2026-08-01T12:02:00.000000000Z','2026-08-01T12:00:00.000000000Z','2026-08-01T12:02:00.000000000Z',120.0,0,0,1,'["AUDIT_WRITE","CHOWN","DAC_OVERRIDE","FOWNER","FSETID","KILL","MKNOD","NET_BIND_SERVICE","NET_RAW","SETFCAP","SETGID","SETPCAP","SETUID","SYS_CHROOT"]',0,3,0);
INSERT INTO runs VALUES(2,'observation/web/1',2,X'1edbae4b3d7ec90170e8031287b7927b82c16afd0a6b1c606b5a4fdb259b9a3f','{"observationEnd":"2026-08-01T12:01:00Z","ended":"2026-08-01T12:01:00Z"}','2026-08-01T12:00:00.000000000Z','2026-08-01T12:01:00.000000000Z','2026-08-01T12:00:00.000000000Z','2026-08-01T12:01:00.000000000Z',60.0,0,0,1,'["AUDIT_WRITE","CHOWN","DAC_OVERRIDE","FOWNER","FSETID","KILL","MKNOD","NET_BIND_SERVICE","NET_RAW","SETFCAP","SETGID","SETPCAP","SETUID","SYS_CHROOT"]',0,3,0);
CREATE TABLE uses (
    run         INTEGER NOT NULL REFERENCES runs (key) ON DELETE CASCADE,
    position    INTEGER NOT NULL,
    capability  TEXT NOT NULL,
    class       TEXT NOT NULL,
    granted     INTEGER NOT NULL,
    alternative TEXT,
    program     TEXT NOT NULL,
    call        TEXT NOT NULL,
    site        TEXT NOT NULL,
    entry       INTEGER NOT NULL,
    user        INTEGER NOT NULL,
    count       INTEGER NOT NULL,
    first       TEXT NOT NULL,
    last        TEXT NOT NULL,
    PRIMARY KEY (run, position)
) STRICT, WITHOUT ROWID;
INSERT INTO uses VALUES(1,1,'CHOWN','required',1,NULL,'chown','fchownat','setattr_prepare',0,0,3,'2026-08-01T12:00:00.000000000Z','2026-08-01T12:02:00.000000000Z');
INSERT INTO uses VALUES(2,1,'CHOWN','required',1,NULL,'chown','fchownat','setattr_prepare',0,0,3,'2026-08-01T12:00:00.000000000Z','2026-08-01T12:01:00.000000000Z');
CREATE TABLE documents (
    run          INTEGER PRIMARY KEY REFERENCES runs (key) ON DELETE CASCADE,
    digest       BLOB NOT NULL, -- SHA-256 of json
    json         TEXT NOT NULL,
    setup_digest BLOB NOT NULL, -- SHA-256 of what is in setup
    setup        BLOB NOT NULL  -- JSON of the uses of the set-up, with their places, by gzip
) STRICT;
INSERT INTO documents VALUES(1,X'a17f295495be9082ee737d5bee0f239b3bd05e7fb427aa62b82c55b0ee0606e1','{"id":"observation/db/2","observation":{"id":"observation","kernel":"6.1","hook":"fexit","start":"2026-08-01T12:00:00Z","end":"0001-01-01T00:00:00Z"},"container":{"id":"0000000000000000000000000000000000000000000000000000000000000002","name":"db","image":"postgres:17","imageID":"sha256:postgres:17","labels":{"com.docker.compose.project":"shop","com.docker.compose.service":"db"}},"grants":{"kernel":["AUDIT_WRITE","CHOWN","DAC_OVERRIDE","FOWNER","FSETID","KILL","MKNOD","NET_BIND_SERVICE","NET_RAW","SETFCAP","SETGID","SETPCAP","SETUID","SYS_CHROOT"]},"started":"2026-08-01T12:00:00Z","ended":"0001-01-01T00:00:00Z","existed":false,"running":false,"processes":0,"user":0,"checks":3,"lost":0,"incomplete":[],"uses":[{"capability":"CHOWN","class":"required","granted":true,"program":"chown","call":"fchownat","site":"setattr_prepare","user":0,"count":3,"first":"2026-08-01T12:00:00Z","last":"2026-08-01T12:02:00Z"}]}',X'3ed589f3656e47438e8d6dfb3b9541a9e3fcae87e672f43d02bfa379d4e362d3',X'1f8b08000000000000ff6cce314b05311004e0ff32751eec8b20b29d6063a1cdd9a8c8b1c6dc198849d86c1039eebf8b67fbea6f9899d70dadf664a91630398c1ec11b8234794f39d90f18d3f334dfde3ddc3fc22164e91d8c1e6d3438ac2ac5e207d8744487a67555f9024347097f79c9198c257cd6ef2206879e2cfe178899ce4d63138d38a6f5f810ea2806be7258927603c393bf3ed1cd89ce4f67cf444cf402872c97d41fbaef6fbf010000ffff44f91ed9dc000000');
INSERT INTO documents VALUES(2,X'4257c1a98249906ada175f1cdce847d1ec7e31182acb33077607722abddb387b','{"id":"observation/web/1","observation":{"id":"observation","kernel":"6.1","hook":"fexit","start":"2026-08-01T12:00:00Z","end":"0001-01-01T00:00:00Z"},"container":{"id":"0000000000000000000000000000000000000000000000000000000000000001","name":"web","image":"nginx:1.27","imageID":"sha256:nginx:1.27","labels":{"com.docker.compose.project":"shop","com.docker.compose.service":"web"}},"grants":{"kernel":["AUDIT_WRITE","CHOWN","DAC_OVERRIDE","FOWNER","FSETID","KILL","MKNOD","NET_BIND_SERVICE","NET_RAW","SETFCAP","SETGID","SETPCAP","SETUID","SYS_CHROOT"]},"started":"2026-08-01T12:00:00Z","ended":"0001-01-01T00:00:00Z","existed":false,"running":false,"processes":0,"user":0,"checks":3,"lost":0,"incomplete":[],"uses":[{"capability":"CHOWN","class":"required","granted":true,"program":"chown","call":"fchownat","site":"setattr_prepare","user":0,"count":3,"first":"2026-08-01T12:00:00Z","last":"2026-08-01T12:01:00Z"}]}',X'a408064dc8e13818f8c9ad54a0e4f87bdb4653dd4be1100b05f037de1efa4598',X'1f8b08000000000000ff6ccec14ac6301004e07799730adb0a227b13bc78d04bbda84859635a0331099b0d22a5ef2ed6eb7ffe869979dd514b8b164b0693436f01bcc34b95f798a2fd80313fcfcbedddc3fd231c7c92d6c068c17a85c3a6922d7c804d7b70a85a36952f30b467ff979794c058fd67f9ce627068d1c27f8198e9523554d180735acf0fbef46ce02b87356a3330269aae07ba19687c1a272662a2173824b9a4e3a9c7f1f61b0000ffff81c593e0dc000000');
CREATE TABLE proofs (
    id        TEXT PRIMARY KEY,
    container INTEGER NOT NULL REFERENCES containers (key),
    time      TEXT NOT NULL,
    works     INTEGER NOT NULL,
    minimal   INTEGER NOT NULL,
    digest    BLOB NOT NULL, -- SHA-256 of json
    json      TEXT NOT NULL
) STRICT;
INSERT INTO proofs VALUES('proof',1,'2026-08-01T12:00:00.000000000Z',0,0,X'f23dcec47e6fc670702674ee3cf311651db19f8c5528caa65100c924d959addb','{"id":"proof","time":"2026-08-01T12:00:00Z","container":{"id":"0000000000000000000000000000000000000000000000000000000000000002","name":"db","image":"postgres:17","imageID":"sha256:postgres:17","labels":{"com.docker.compose.project":"shop","com.docker.compose.service":"db"}},"command":[],"repeat":0,"observed":[],"enough":false,"set":[],"works":false,"minimal":false,"members":[],"trials":[]}');
CREATE TABLE alerts (
    id              TEXT PRIMARY KEY,
    time            TEXT NOT NULL,
    rule            TEXT NOT NULL,
    severity        TEXT NOT NULL,
    summary         TEXT NOT NULL,
    count           INTEGER NOT NULL,
    capability      TEXT NOT NULL,
    class           TEXT NOT NULL,
    granted         INTEGER NOT NULL,
    program         TEXT NOT NULL,
    container_id    TEXT NOT NULL,
    container_name  TEXT NOT NULL,
    image           TEXT NOT NULL,
    digest          BLOB NOT NULL, -- SHA-256 of json
    json            TEXT NOT NULL
) STRICT;
INSERT INTO alerts VALUES('NDQJVDNUAW3YITKJ6NWSQTKKKM','2026-08-01T12:00:00.000000000Z','raw sockets','critical','web opened a raw socket',2,'NET_RAW','required',1,'ping','aa','web','nginx:1.27',X'de8acfec15aec0c4abf39ed1dee179409ed36dcf343ad7d219a7fa74fcdc215f','{"schema":1,"id":"NDQJVDNUAW3YITKJ6NWSQTKKKM","time":"2026-08-01T12:00:00Z","rule":"raw sockets","severity":"critical","summary":"web opened a raw socket","count":2,"use":{"schema":1,"time":"2026-08-01T12:00:00Z","late":false,"first":true,"count":2,"container":{"id":"aa","name":"web","image":"nginx:1.27"},"process":{"pid":7,"program":"ping","user":0,"parents":[]},"capability":"NET_RAW","class":"required","granted":true,"rawSocket":true,"family":"IPv4","nested":false,"stack":[]}}');
CREATE TABLE pruned (
    kind   TEXT NOT NULL CHECK (kind IN ('run', 'proof', 'alert')),
    image  TEXT NOT NULL, -- '' for any
    number INTEGER NOT NULL,
    until  TEXT NOT NULL,
    PRIMARY KEY (kind, image)
) STRICT, WITHOUT ROWID;
INSERT INTO pruned VALUES('run','redis',1,'2026-08-01T10:20:00.000000000Z');
CREATE INDEX runs_of_container ON runs (container);
CREATE INDEX runs_by_end ON runs (ended);
CREATE INDEX proofs_of_container ON proofs (container);
CREATE INDEX alerts_by_time ON alerts (time);
COMMIT;
PRAGMA application_id = 1668312430;
PRAGMA user_version = 1;
