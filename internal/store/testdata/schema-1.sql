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
INSERT INTO runs VALUES(1,'observation/db/2',1,X'd6a3e1fff5fa6bfdef53bbae683bcc2d224de0a085c838e1316d73c9af6da898','{"observationEnd":"2026-08-01T12:02:00Z","ended":"2026-08-01T12:02:00Z"}','2026-08-01T12:00:00.000000000Z','2026-08-01T12:02:00.000000000Z','2026-08-01T12:00:00.000000000Z','2026-08-01T12:02:00.000000000Z',120.0,0,0,1,'["AUDIT_WRITE","CHOWN","DAC_OVERRIDE","FOWNER","FSETID","KILL","MKNOD","NET_BIND_SERVICE","NET_RAW","SETFCAP","SETGID","SETPCAP","SETUID","SYS_CHROOT"]',0,3,0);
INSERT INTO runs VALUES(2,'observation/web/1',2,X'01a74e031fad64653de21ed866fc528a5654a7c9d4a197b92e00f31a917111e3','{"observationEnd":"2026-08-01T12:01:00Z","ended":"2026-08-01T12:01:00Z"}','2026-08-01T12:00:00.000000000Z','2026-08-01T12:01:00.000000000Z','2026-08-01T12:00:00.000000000Z','2026-08-01T12:01:00.000000000Z',60.0,0,0,1,'["AUDIT_WRITE","CHOWN","DAC_OVERRIDE","FOWNER","FSETID","KILL","MKNOD","NET_BIND_SERVICE","NET_RAW","SETFCAP","SETGID","SETPCAP","SETUID","SYS_CHROOT"]',0,3,0);
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
INSERT INTO uses VALUES(1,0,'CHOWN','required',1,NULL,'chown','fchownat','setattr_prepare',0,0,3,'2026-08-01T12:00:00.000000000Z','2026-08-01T12:02:00.000000000Z');
INSERT INTO uses VALUES(2,0,'CHOWN','required',1,NULL,'chown','fchownat','setattr_prepare',0,0,3,'2026-08-01T12:00:00.000000000Z','2026-08-01T12:01:00.000000000Z');
INSERT INTO uses VALUES(2,1,'CHOWN','required',1,NULL,'required','fchownat','setattr_prepare',0,0,3,'2026-08-01T12:00:00.000000000Z','2026-08-01T12:01:00.000000000Z');
INSERT INTO uses VALUES(2,2,'DAC_OVERRIDE','demanded',1,NULL,'demanded','fchownat','setattr_prepare',0,0,3,'2026-08-01T12:00:00.000000000Z','2026-08-01T12:01:00.000000000Z');
INSERT INTO uses VALUES(2,3,'DAC_READ_SEARCH','soft',1,NULL,'soft','fchownat','setattr_prepare',0,0,3,'2026-08-01T12:00:00.000000000Z','2026-08-01T12:01:00.000000000Z');
INSERT INTO uses VALUES(2,4,'FOWNER','long-setup',1,NULL,'long-setup','fchownat','setattr_prepare',0,0,3,'2026-08-01T12:00:00.000000000Z','2026-08-01T12:01:00.000000000Z');
INSERT INTO uses VALUES(2,5,'FSETID','denied',0,NULL,'denied','fchownat','setattr_prepare',0,0,3,'2026-08-01T12:00:00.000000000Z','2026-08-01T12:01:00.000000000Z');
INSERT INTO uses VALUES(2,6,'KILL','tolerated',0,NULL,'tolerated','fchownat','setattr_prepare',0,0,3,'2026-08-01T12:00:00.000000000Z','2026-08-01T12:01:00.000000000Z');
INSERT INTO uses VALUES(2,7,'SETGID','redundant',1,NULL,'redundant','fchownat','setattr_prepare',0,0,3,'2026-08-01T12:00:00.000000000Z','2026-08-01T12:01:00.000000000Z');
INSERT INTO uses VALUES(2,8,'SETUID','irrelevant',1,NULL,'irrelevant','fchownat','setattr_prepare',0,0,3,'2026-08-01T12:00:00.000000000Z','2026-08-01T12:01:00.000000000Z');
INSERT INTO uses VALUES(2,9,'SETPCAP','own-namespace',1,NULL,'own-namespace','fchownat','setattr_prepare',0,0,3,'2026-08-01T12:00:00.000000000Z','2026-08-01T12:01:00.000000000Z');
INSERT INTO uses VALUES(2,10,'LINUX_IMMUTABLE','borrowed',1,NULL,'borrowed','fchownat','setattr_prepare',0,0,3,'2026-08-01T12:00:00.000000000Z','2026-08-01T12:01:00.000000000Z');
CREATE TABLE documents (
    run          INTEGER PRIMARY KEY REFERENCES runs (key) ON DELETE CASCADE,
    digest       BLOB NOT NULL, -- SHA-256 of json
    json         TEXT NOT NULL,
    setup_digest BLOB NOT NULL, -- SHA-256 of what is in setup
    setup        BLOB NOT NULL  -- JSON of the uses of the set-up, with their places, by gzip
) STRICT;
INSERT INTO documents VALUES(1,X'a17f295495be9082ee737d5bee0f239b3bd05e7fb427aa62b82c55b0ee0606e1','{"id":"observation/db/2","observation":{"id":"observation","kernel":"6.1","hook":"fexit","start":"2026-08-01T12:00:00Z","end":"0001-01-01T00:00:00Z"},"container":{"id":"0000000000000000000000000000000000000000000000000000000000000002","name":"db","image":"postgres:17","imageID":"sha256:postgres:17","labels":{"com.docker.compose.project":"shop","com.docker.compose.service":"db"}},"grants":{"kernel":["AUDIT_WRITE","CHOWN","DAC_OVERRIDE","FOWNER","FSETID","KILL","MKNOD","NET_BIND_SERVICE","NET_RAW","SETFCAP","SETGID","SETPCAP","SETUID","SYS_CHROOT"]},"started":"2026-08-01T12:00:00Z","ended":"0001-01-01T00:00:00Z","existed":false,"running":false,"processes":0,"user":0,"checks":3,"lost":0,"incomplete":[],"uses":[{"capability":"CHOWN","class":"required","granted":true,"program":"chown","call":"fchownat","site":"setattr_prepare","user":0,"count":3,"first":"2026-08-01T12:00:00Z","last":"2026-08-01T12:02:00Z"}]}',X'4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945',X'1f8b08000000000000ff8a8e05040000ffff29bb4c0d02000000');
INSERT INTO documents VALUES(2,X'f4f4795916c0f190a69156dc607eae0bb0766ea4af8268722ff9c2405c399883','{"id":"observation/web/1","observation":{"id":"observation","kernel":"6.1","hook":"fexit","start":"2026-08-01T12:00:00Z","end":"0001-01-01T00:00:00Z"},"container":{"id":"0000000000000000000000000000000000000000000000000000000000000001","name":"web","image":"nginx:1.27","imageID":"sha256:nginx:1.27","labels":{"com.docker.compose.project":"shop","com.docker.compose.service":"web"}},"grants":{"kernel":["AUDIT_WRITE","CHOWN","DAC_OVERRIDE","FOWNER","FSETID","KILL","MKNOD","NET_BIND_SERVICE","NET_RAW","SETFCAP","SETGID","SETPCAP","SETUID","SYS_CHROOT"]},"started":"2026-08-01T12:00:00Z","ended":"0001-01-01T00:00:00Z","existed":false,"running":false,"processes":0,"user":0,"checks":3,"lost":0,"incomplete":[],"uses":[{"capability":"CHOWN","class":"required","granted":true,"program":"chown","call":"fchownat","site":"setattr_prepare","user":0,"count":3,"first":"2026-08-01T12:00:00Z","last":"2026-08-01T12:01:00Z"},{"capability":"CHOWN","class":"required","granted":true,"program":"required","call":"fchownat","site":"setattr_prepare","user":0,"count":3,"first":"2026-08-01T12:00:00Z","last":"2026-08-01T12:01:00Z"},{"capability":"DAC_OVERRIDE","class":"demanded","granted":true,"program":"demanded","call":"fchownat","site":"setattr_prepare","user":0,"count":3,"first":"2026-08-01T12:00:00Z","last":"2026-08-01T12:01:00Z"},{"capability":"DAC_READ_SEARCH","class":"soft","granted":true,"program":"soft","call":"fchownat","site":"setattr_prepare","user":0,"count":3,"first":"2026-08-01T12:00:00Z","last":"2026-08-01T12:01:00Z"},{"capability":"FOWNER","class":"long-setup","granted":true,"program":"long-setup","call":"fchownat","site":"setattr_prepare","user":0,"count":3,"first":"2026-08-01T12:00:00Z","last":"2026-08-01T12:01:00Z"},{"capability":"FSETID","class":"denied","granted":false,"program":"denied","call":"fchownat","site":"setattr_prepare","user":0,"count":3,"first":"2026-08-01T12:00:00Z","last":"2026-08-01T12:01:00Z"},{"capability":"KILL","class":"tolerated","granted":false,"program":"tolerated","call":"fchownat","site":"setattr_prepare","user":0,"count":3,"first":"2026-08-01T12:00:00Z","last":"2026-08-01T12:01:00Z"},{"capability":"SETGID","class":"redundant","granted":true,"program":"redundant","call":"fchownat","site":"setattr_prepare","user":0,"count":3,"first":"2026-08-01T12:00:00Z","last":"2026-08-01T12:01:00Z"},{"capability":"SETUID","class":"irrelevant","granted":true,"program":"irrelevant","call":"fchownat","site":"setattr_prepare","user":0,"count":3,"first":"2026-08-01T12:00:00Z","last":"2026-08-01T12:01:00Z"},{"capability":"SETPCAP","class":"own-namespace","granted":true,"program":"own-namespace","call":"fchownat","site":"setattr_prepare","user":0,"count":3,"first":"2026-08-01T12:00:00Z","last":"2026-08-01T12:01:00Z"},{"capability":"LINUX_IMMUTABLE","class":"borrowed","granted":true,"program":"borrowed","call":"fchownat","site":"setattr_prepare","user":0,"count":3,"first":"2026-08-01T12:00:00Z","last":"2026-08-01T12:01:00Z"}]}',X'5f56421f40a503d308c6bbf4d4734d747ea5c7da5f4a30b070dce8f57eabbb8d',X'1f8b08000000000000ff6cceb14a03411087f177f9d713983d41644af58a3429345828728ceb262eacb7cbec2c2221ef2ec4c6c2fafb15dfcb09adf6ecb9ae901008a327c809519bbee592fd1b82ddbc5f6eb7bbfbe5717e78dadecd20c4a2bd43d0938f06c2d174f5f40e711b89d0ac1e4d3fff80a8a54070881ff56b5507a1674fbf40dd6d69969a5ac265c1204c8875ac0eb9221cb2758760e2e97ac3371b0efb3009b3303f8350f4bf1a2ef57c7efd090000ffffca1862d7e5000000');
CREATE TABLE proofs (
    id        TEXT PRIMARY KEY,
    container INTEGER NOT NULL REFERENCES containers (key),
    time      TEXT NOT NULL,
    works     INTEGER NOT NULL,
    minimal   INTEGER NOT NULL,
    digest    BLOB NOT NULL, -- SHA-256 of json
    json      TEXT NOT NULL
) STRICT;
INSERT INTO proofs VALUES('proof',1,'2026-08-01T12:00:00.000000000Z',1,1,X'e387ceda4e40bda6773ce1ac926f957261f859640d275541babbeccb26009865','{"id":"proof","time":"2026-08-01T12:00:00Z","container":{"id":"0000000000000000000000000000000000000000000000000000000000000002","name":"db","image":"postgres:17","imageID":"sha256:postgres:17","labels":{"com.docker.compose.project":"shop","com.docker.compose.service":"db"}},"command":["docker","run","postgres:17"],"repeat":1,"observed":["CHOWN"],"enough":true,"set":["CHOWN"],"works":true,"minimal":true,"members":[{"capability":"CHOWN","class":"required","verdict":"proved needed","trial":1},{"capability":"KILL","class":"demanded","verdict":"proved unneeded"}],"trials":[{"number":1,"set":[],"without":["CHOWN"],"with":[],"same":false,"outcomes":["exit status 1"],"seconds":1,"refused":[{"capability":"CHOWN","class":"denied","granted":false,"program":"chown","call":"fchownat","site":"setattr_prepare","user":0,"count":3,"first":"2026-08-01T12:00:00Z","last":"2026-08-01T12:02:00Z"}],"denied":["CHOWN"]}]}');
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
INSERT INTO alerts VALUES('alert','2026-08-01T12:00:00.000000000Z','raw-socket','warning','raw socket',1,'NET_RAW','own-namespace',1,'','0000000000000000000000000000000000000000000000000000000000000001','web','nginx:1.27',X'615d2c5e9a76a1943dd4fdaddc0e02876fdecb771a868fb48b065c0a4fd1a895','{"schema":1,"id":"alert","time":"2026-08-01T12:00:00Z","rule":"raw-socket","severity":"warning","summary":"raw socket","count":1,"use":{"schema":1,"time":"2026-08-01T12:00:00Z","late":false,"first":true,"count":1,"container":{"id":"0000000000000000000000000000000000000000000000000000000000000001","name":"web","image":"nginx:1.27"},"process":{"program":"","parents":null},"capability":"NET_RAW","class":"own-namespace","granted":true,"rawSocket":false,"open":false,"nested":false,"stack":null}}');
INSERT INTO alerts VALUES('loss','2026-08-01T12:00:00.000000000Z','capmon-loss','critical','lost',2,'','',0,'','','','',X'6d1b602616cf499d14648d9392ea6fd9be4ff7bc7ef809cda106b0caae186ac5','{"schema":1,"id":"loss","time":"2026-08-01T12:00:00Z","rule":"capmon-loss","severity":"critical","summary":"lost","count":2,"loss":{"since":"2026-08-01T12:00:00Z","lost":{},"total":{},"recording":"r","losers":[]}}');
CREATE TABLE pruned (
    kind   TEXT NOT NULL CHECK (kind IN ('run', 'proof', 'alert')),
    image  TEXT NOT NULL, -- '' for any
    number INTEGER NOT NULL,
    until  TEXT NOT NULL,
    PRIMARY KEY (kind, image)
) STRICT, WITHOUT ROWID;
INSERT INTO pruned VALUES('run','nginx:1.26',1,'2026-07-31T12:00:00.000000000Z');
CREATE INDEX runs_of_container ON runs (container);
CREATE INDEX runs_by_end ON runs (ended);
CREATE INDEX proofs_of_container ON proofs (container);
CREATE INDEX alerts_by_time ON alerts (time);
COMMIT;
PRAGMA application_id = 1668312430;
PRAGMA user_version = 1;
