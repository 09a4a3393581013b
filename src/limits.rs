//! Every limit of the bridge: name, unit, default and the reason behind it.

use std::time::Duration;

/// Total memory that caches and buffers scale to, in bytes: half of a 256 MiB process, the
/// other half being code, connections, TLS and the allocator's own slack.
pub const MEMORY: u64 = 128 << 20;

/// Largest packet accepted from a client, in bytes. The standard's own maximum is
/// 268,435,460 (MQTT 5.0 section 2.1.4); telemetry needs far less, and a packet is held in
/// memory whole.
pub const MAXIMUM_PACKET_SIZE: u32 = 1 << 20;

/// Unacknowledged QoS 1 and 2 messages a client may have on the way to the bridge
/// (Receive Maximum, MQTT 5.0 section 3.2.2.3.3), and the bridge's own window towards a client
/// that names none (3.1.1 has no such field; 65,535 would let one client pin the journal).
pub const RECEIVE_MAXIMUM: u16 = 1024;

/// Topic aliases a client may set (MQTT 5.0 section 3.2.2.3.8).
pub const TOPIC_ALIAS_MAXIMUM: u16 = 16;

/// Topics that the bridge gives an alias towards a client that takes them: what it must remember of a
/// connection, at some 100 bytes each.
pub const OUTGOING_TOPIC_ALIASES: u16 = 32;

/// Time from accept to the first byte of MQTT (PROXY protocol, TLS and WebSocket together), and
/// again from there to the end of authentication.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a CONNECT packet, unless the largest packet is smaller: room for the largest will, 64 KiB, and
/// everything else of reasonable size. A stranger may have it held without having said who it is, and so may
/// every other connection that has not sent a whole CONNECT.
pub const MAXIMUM_CONNECT_BYTES: u32 = 96 << 10;

/// Connections of one listener that are not let in yet; beyond, the oldest makes room. Below the 1,024
/// descriptors that a process has where nobody raised them, and enough for 5,000 new clients a second
/// that each take 200 ms.
pub const MAXIMUM_HANDSHAKES: usize = 1_000;

/// Connections that the system accepts before the bridge does (listen(2)); it takes fewer where
/// `net.core.somaxconn` is lower. A site's devices come back all at once.
pub const LISTEN_BACKLOG: u32 = 4096;

/// Bytes of a PROXY protocol header of version 2 behind its first 16: 216 for the longest
/// addresses, the rest for TLVs, which are skipped. A client's certificate in them takes the most.
pub const MAXIMUM_PROXY_HEADER_BYTES: usize = 4096;

/// Bytes of the HTTP request that becomes a WebSocket, on a listener of its own: the least that
/// `hyper` takes. They are given back after the handshake.
pub const WEBSOCKET_HEAD_BYTES: usize = 8 << 10;

/// Permissions of a listener's socket file: its owner and group may connect.
pub const SOCKET_MODE: u32 = 0o660;

/// Share of the file descriptors that MQTT connections leave to others, HTTP above all, so that a
/// flood of devices can still be looked at: 5 %.
pub const DESCRIPTOR_RESERVE_DIVISOR: u64 = 20;

/// File descriptors that MQTT connections leave to others at least.
pub const DESCRIPTOR_RESERVE: u64 = 32;

/// Share of the file descriptors that strangers leave to clients from addresses that are known: 5 %.
pub const DESCRIPTOR_KNOWN_DIVISOR: u64 = 20;

/// File descriptors that strangers leave to them at least.
pub const DESCRIPTOR_KNOWN: u64 = 16;

/// Addresses of clients that were no strangers which are remembered, at some 20 bytes each. A site's devices
/// mostly come from few.
pub const KNOWN_ADDRESSES: usize = 4096;

/// File descriptors that HTTP connections leave to others too: to the journal, the state store
/// and the database, which must be able to open files under any load.
pub const DESCRIPTOR_CORE_RESERVE: u64 = 16;

/// Iterations of PBKDF2 in a new password's verifier: the least that RFC 7677 section 4 allows, and
/// PostgreSQL's default. About a millisecond of one core for each CONNECT with a password, and
/// devices come back all at once. For passwords that people choose there is argon2id.
pub const PASSWORD_ITERATIONS: u32 = 4096;

/// Iterations that a verifier must have: clients refuse fewer (RFC 7677 section 4).
pub const MINIMUM_PASSWORD_ITERATIONS: u32 = 4096;

/// Iterations that a verifier may have: some tenths of a second of one core for each CONNECT.
pub const MAXIMUM_PASSWORD_ITERATIONS: u32 = 1_000_000;

/// KiB of memory that a check of a password with argon2id takes, with [`ARGON2_PASSES`] and one lane: the least that
/// OWASP's Password Storage Cheat Sheet names. As many are checked at a time as half of the cores, so a small pod spares it.
pub const ARGON2_MEMORY: u32 = 19 * 1024;

/// Passes over it.
pub const ARGON2_PASSES: u32 = 2;

/// KiB that a check with a hash from elsewhere may take.
pub const MAXIMUM_ARGON2_MEMORY: u32 = 64 * 1024;

/// Passes that a hash from elsewhere may take: some tenths of a second of one core for each CONNECT.
pub const MAXIMUM_ARGON2_PASSES: u32 = 8;

/// Lanes that a hash from elsewhere may have; they are worked on one after the other.
pub const MAXIMUM_ARGON2_LANES: u32 = 8;

/// Random bytes of a password that is made for a device: 144 bits, 24 characters of base64.
pub const DEVICE_PASSWORD_BYTES: usize = 18;

/// Random bytes of a new password's salt, as PostgreSQL has them.
pub const SALT_BYTES: usize = 16;

/// Bytes of a salt that was made elsewhere: decoys have two hashes to make one from.
pub const MAXIMUM_SALT_BYTES: usize = 64;

/// Random bytes of the server's part of a SCRAM nonce: 144 bits, 24 characters of base64.
pub const NONCE_BYTES: usize = 18;

/// Characters of the client's part of a SCRAM nonce, which an exchange keeps.
pub const MAXIMUM_CLIENT_NONCE_BYTES: usize = 256;

/// Failed attempts to prove who one is within [`FAILED_ATTEMPTS_WINDOW`], of an address or for a user name,
/// after which it is refused for a while: room for typing errors and a device with an old password,
/// none for guessing.
pub const FAILED_ATTEMPTS: u32 = 10;

/// Time within which failed attempts add up.
pub const FAILED_ATTEMPTS_WINDOW: Duration = Duration::from_secs(60);

/// How long an address or a user name is refused after too many: ten guesses a minute need 19 years for
/// a hundred million passwords.
pub const BAN: Duration = Duration::from_secs(60);

/// Addresses and names that failed attempts are counted of, and as many that are known to be good; some
/// 100 bytes each. Beyond, the oldest are forgotten.
pub const ATTEMPT_RECORDS: usize = 10_000;

/// Keys of an issuer of tokens that are taken; issuers have two or three.
pub const TOKEN_KEYS: usize = 64;

/// Bytes of an answer of a service that knows who clients are, such as an issuer's keys.
pub const SERVICE_ANSWER_BYTES: usize = 256 << 10;

/// How often an issuer's keys are fetched, unless configured otherwise.
pub const TOKEN_KEYS_INTERVAL: Duration = Duration::from_secs(300);

/// Time between two attempts to fetch them at least, where tokens name keys that are not known: a flood of such tokens
/// must not become one at the issuer.
pub const TOKEN_KEYS_PAUSE: Duration = Duration::from_secs(30);

/// First pause after keys could not be fetched; doubles up to [`TOKEN_KEYS_PAUSE`].
pub const TOKEN_KEYS_RETRY: Duration = Duration::from_secs(1);

/// Time for one attempt. Clients whose token names a new key wait for it within the time of their handshake.
pub const TOKEN_KEYS_TIMEOUT: Duration = Duration::from_secs(5);

/// How long keys are trusted that cannot be fetched again: an issuer that is down over night keeps nobody out, and one that
/// has taken a key back is heard within a day.
pub const TOKEN_KEYS_KEPT: Duration = Duration::from_secs(86_400);

/// Seconds by which an issuer's clock may be ahead.
pub const TOKEN_LEEWAY: i64 = 30;

/// Topic filters that a token may carry.
pub const TOKEN_RULES: usize = 100;

/// How often files are looked at that somebody may change while the bridge runs: certificates, revocation lists,
/// accounts, access rules. A change is in effect one to two of these later.
pub const FILES_INTERVAL: Duration = Duration::from_secs(1);

/// After so long a running bridge has read files that have changed: two looks at them and one more, and a moment to read.
pub const FILES_IN_EFFECT: Duration = Duration::from_millis(3_500);

/// How long before the end of a listener's certificate the log warns of it: where certificates are renewed by
/// themselves, that has failed for a while then.
pub const CERTIFICATE_WARNING: Duration = Duration::from_secs(14 * 86_400);

/// How often certificates are looked at for their end.
pub const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(86_400);

/// Topics of which a connection remembers whether its client may publish to or receive them; devices
/// mostly have one or two. Searched one by one.
pub const REMEMBERED_TOPICS: usize = 4;

/// Messages that wait for one session, online or not.
pub const MAXIMUM_QUEUED_MESSAGES: usize = 100_000;

/// Bytes of the messages that wait for one session, counted as topic, properties and payload: they
/// lie in the journal, which must keep them.
pub const MAXIMUM_QUEUED_BYTES: u64 = 256 << 20;

/// Topics with a retained message; those beyond are delivered and not retained. Each takes some 300
/// bytes of memory beside its message.
pub const MAXIMUM_RETAINED_MESSAGES: usize = 1_000_000;

/// Bytes of all retained messages, with topics and properties, which are in memory. For the default
/// budget; it scales with it.
pub const MAXIMUM_RETAINED_BYTES: u64 = 64 << 20;

/// QoS 0 messages that wait for one session; more are dropped and counted, as best effort means.
/// A fifth of a second at full speed: an entry takes a few bytes, the payload stays in the journal.
pub const MAXIMUM_QUEUED_BEST_EFFORT: usize = 100_000;

/// How often the `$SYS` topics follow what they tell: mosquitto's own default, which dashboards expect.
pub const SYS_INTERVAL: Duration = Duration::from_secs(10);

/// Filters that one session may hold; more are refused with 0x97 Quota exceeded.
pub const MAXIMUM_SUBSCRIPTIONS: usize = 1_000;

/// Levels of a topic name or filter. Matching costs by level.
pub const MAXIMUM_TOPIC_LEVELS: usize = 128;

/// Levels of a topic filter with wildcards. A topic is tried against every prefix that such filters have,
/// so that many deep ones cost every message: a thousand of 128 levels took 2.2 ms a match, of 32 levels
/// 0.44 ms (decision 0006).
pub const MAXIMUM_WILDCARD_LEVELS: usize = 32;

/// Bytes of a client identifier. Every record carries it; 23 is what a server must take
/// [MQTT-3.1.3-5], and names of certificates and UUIDs fit well.
pub const MAXIMUM_CLIENT_ID_BYTES: usize = 256;

/// Bytes of a topic name. Every record carries it, also where a topic alias made it two bytes on
/// the wire.
pub const MAXIMUM_TOPIC_BYTES: usize = 1024;

/// Bytes of records that one connection appends at a time, give or take a packet: small packets
/// become larger records, and what is appended lies in memory until it is written.
pub const MAXIMUM_BATCH_BYTES: usize = 256 << 10;

/// Share of the journal's maximum size that sessions may hold back: half. A client that never
/// comes back must not stop the others; what it loses is counted when it does.
pub const SESSION_BACKLOG_DIVISOR: u64 = 2;

/// Patterns of client identifiers in each list of `[presence]`: all of them may be looked at for each CONNECT.
pub const PRESENCE_PATTERNS: usize = 64;

/// Connections of an earlier life whose end is put on record at once.
pub const CLOSED_AT_ONCE: usize = 1_000;

/// Session expiry granted at most, in seconds: 30 days. 3.1.1's "clean session 0" gets it too.
pub const MAXIMUM_SESSION_EXPIRY: u32 = 30 * 24 * 3600;

/// Size at which a journal segment is closed and the next begun, in bytes. Retention works in
/// whole segments, so a small pod frees space in steps of this.
pub const SEGMENT_BYTES: u64 = 32 << 20;

/// Sequence numbers reserved ahead on disk, so that none is used twice after a crash.
pub const SEQUENCE_BLOCK: u64 = 1 << 20;

/// Longest time that QoS 0 records stay unsynced.
pub const SYNC_INTERVAL: Duration = Duration::from_millis(100);

/// Age at which a journal segment may go, once no consumer needs it.
pub const RETAIN_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Bytes above which the oldest segments may go, once no consumer needs them.
pub const RETAIN_BYTES: u64 = 2 << 30;

/// Bytes of journal at which QoS 1 and 2 are refused and QoS 0 is shed: what consumers still
/// need fills the disk no further than this.
pub const MAXIMUM_JOURNAL_BYTES: u64 = 16 << 30;

/// Silence on a stream after which a comment is sent: below the 30 s at which the pod's clients
/// expect one, and below the 60 s at which proxies commonly give up.
pub const STREAM_HEARTBEAT: Duration = Duration::from_secs(20);

/// Time to drain after SIGTERM: inside the 30 s that Kubernetes waits before SIGKILL.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(20);

/// What one write to a stream client holds at most, in bytes, unless a single event is larger:
/// all that a client costs that does not read.
pub const STREAM_BODY_BYTES: usize = 64 << 10;

/// Size at which encoded events are handed to stream clients, in bytes, where more are waiting.
pub const STREAM_CHUNK_BYTES: usize = 32 << 10;

/// Stream clients that read the journal at one moment, each with about a quarter of a MiB of it
/// in memory; the others wait their turn.
pub const STREAM_REPLAYS: usize = 4;

/// Events that wait for a client that asks for best effort; beyond, the oldest are dropped. Some seconds of a busy
/// device, and a fraction of a second to show.
pub const STREAM_QUEUE: usize = 1_000;

/// Events of one topic that a client of the latest values gets a second, unless asked otherwise: more than a
/// number can be read.
pub const STREAM_RATE: u32 = 4;

/// The same at most: what a screen shows.
pub const MAXIMUM_STREAM_RATE: u32 = 60;

/// Topics of which the newest event is known, for snapshots and the latest values; some 200 bytes each, once
/// somebody has asked for one. Beyond, those go that have not changed for longest.
pub const STREAM_TOPICS: usize = 50_000;

/// Starts of the bridge of which stream ids stay valid, as far as the journal reaches back.
pub const STREAM_LIVES: usize = 1_000;

/// Time after which a client that lost its stream comes back, at least.
pub const STREAM_RETRY_MILLISECONDS: u32 = 2_000;

/// By how much it is more for some, so that not all of them come at once.
pub const STREAM_RETRY_SPREAD_MILLISECONDS: u32 = 2_000;

/// Time that a client may wait for one answer with events: below the 60 s at which proxies commonly give up.
pub const POLL_WAIT: Duration = Duration::from_secs(50);

/// Events that may be under way to a client of the WebSocket that acknowledges them, at most.
pub const MAXIMUM_STREAM_WINDOW: usize = 1_000;

/// Time for a service to say who a web client is.
pub const IDENTITY_TIMEOUT: Duration = Duration::from_secs(5);

/// Questions to such a service at one moment; who comes then waits, as long as for the answer.
pub const IDENTITY_QUESTIONS: usize = 32;

/// For how long its answer counts: a session that was ended elsewhere is good for so long.
pub const IDENTITY_CACHE: Duration = Duration::from_secs(15);

/// For how long an answer counts that lets nobody in.
pub const IDENTITY_REFUSAL_CACHE: Duration = Duration::from_secs(5);

/// Answers of it that are remembered, at some 300 bytes each.
pub const IDENTITIES: usize = 10_000;

/// How often it is asked whether the caller of an open stream is still good.
pub const IDENTITY_INTERVAL: Duration = Duration::from_secs(15);

/// Tokens whose signatures are checked at one moment, off the threads of the network.
pub const WEB_TOKEN_CHECKS: usize = 2;

/// Bytes of the longest credentials: a browser's cookies have 4 KiB each.
pub const CREDENTIAL_BYTES: usize = 16 << 10;

/// Requests of one caller in a second, unless configured otherwise: a page needs some tens to begin, a program that
/// publishes one by one some hundreds.
pub const CALLER_RATE: u32 = 500;

/// Refused credentials of one address in a second; beyond, they are not looked at. Loopback is not counted: a proxy there
/// stands for all its clients.
pub const REFUSED_RATE: u32 = 10;

/// Callers and addresses whose requests are counted at one time, at some 100 bytes each.
pub const COUNTED_CALLERS: usize = 20_000;

/// API keys of one file.
pub const API_KEYS: usize = 10_000;

/// Characters of an API key's name.
pub const API_KEY_NAME_CHARS: usize = 100;

/// For how long a ticket may be used: a page asks for one, and opens its stream.
pub const TICKET_LIFE: Duration = Duration::from_secs(30);

/// Tickets that are out at one time, at some 200 bytes each.
pub const TICKETS: usize = 10_000;

/// How often the clock is looked at while something is open for a caller that expires: it may be set meanwhile.
pub const CALLER_CLOCK_INTERVAL: Duration = Duration::from_secs(60);

/// Bytes of one message that a client of the WebSocket sends, which is in memory whole: 190 kB of payload in Base64. Larger
/// ones have `POST /api/publish`.
pub const SOCKET_MESSAGE_BYTES: usize = 256 << 10;

/// Pings without any answer after which a client of it is given up.
pub const SOCKET_PINGS: u32 = 2;

/// Bytes of a request to publish: a payload of the largest packet in Base64, and room for the rest.
pub const PUBLISH_BODY_BYTES: usize = 2 << 20;

/// Values of one kind of filter that a stream may name. Each costs every client's every event.
pub const STREAM_FILTERS: usize = 32;

/// Events on one page of `GET /api/events`, unless asked otherwise.
pub const EVENTS_PAGE: u16 = 100;

/// Events on one page of `GET /api/events` at most.
pub const MAXIMUM_EVENTS_PAGE: u16 = 1000;

/// JSON of one page of `GET /api/events` at which the page ends early, in bytes.
pub const EVENTS_PAGE_BYTES: usize = 4 << 20;

/// Sessions on one page of `GET /api/sessions`, unless asked otherwise.
pub const SESSIONS_PAGE: u16 = 100;

/// Sessions on one page of `GET /api/sessions` at most: each is asked for in the dispatcher's own time.
pub const MAXIMUM_SESSIONS_PAGE: u16 = 1000;

/// Bytes of filters at which a page of `GET /api/sessions` ends early: one session may have a MiB.
pub const SESSIONS_PAGE_BYTES: usize = 4 << 20;

/// Questions about sessions that wait for the dispatcher; whoever asks another waits.
pub const SESSION_QUESTIONS: usize = 16;

/// Retained messages that are looked at in the dispatcher's own time for a stream that begins with them.
pub const RETAINED_STEP: usize = 256;

/// Watchers on one page of `GET /api/watchers`, unless asked otherwise.
pub const WATCHERS_PAGE: u16 = 100;

/// Watchers on one page at most.
pub const MAXIMUM_WATCHERS_PAGE: u16 = 1000;

/// Characters of what one that watches calls itself.
pub const WATCHER_NAME_CHARS: usize = 64;

/// Devices on one page of `GET /api/devices`, unless asked otherwise.
pub const DEVICES_PAGE: u16 = 100;

/// Devices on one page of `GET /api/devices` at most.
pub const MAXIMUM_DEVICES_PAGE: u16 = 1000;

/// Bytes of metrics and topics at which a page of `GET /api/devices?metrics=true` ends early: one device may have
/// some 200 KiB.
pub const DEVICES_PAGE_BYTES: usize = 4 << 20;

/// Devices that are read at once for a page, while those that speak wait.
pub const DEVICES_STEP: usize = 16;

/// Scalars of which a device's last value is kept; the names that come first stay.
pub const DEVICE_METRICS: usize = 256;

/// Nesting of `data` in which a device's values are looked for.
pub const DEVICE_METRIC_DEPTH: usize = 8;

/// Bytes of the path, and of the text, of a value that is kept; a longer path is left out, longer
/// text is cut.
pub const DEVICE_VALUE_BYTES: usize = 256;

/// Topics of a device of which it is kept that they have a retained message.
pub const DEVICE_RETAINED_TOPICS: usize = 64;

/// Open connections of one device that are known: one for each of the patterns that may name it.
pub const DEVICE_CONNECTIONS: usize = PRESENCE_PATTERNS;

/// Values of devices in memory, of about 100 bytes each; beyond, all are written to the store
/// and read again when their devices say something.
pub const DEVICE_VALUES_IN_MEMORY: usize = 50_000;

/// Devices in memory that have come or gone and said nothing, at some 500 bytes each; with more, all are written to
/// the store at once.
pub const SILENT_DEVICES_IN_MEMORY: usize = 1_000;

/// How often what devices say is taken in while nobody asks.
pub const DEVICES_INTERVAL: Duration = Duration::from_millis(250);

/// How often what is known of devices is written to the store.
pub const DEVICES_CHECKPOINT_INTERVAL: Duration = Duration::from_secs(5);

/// Records of no device after which the store is told how far it is: what a start reads again in
/// some hundredths of a second.
pub const DEVICES_CHECKPOINT_RECORDS: u64 = 100_000;

/// How long a question about devices waits for what was durable when it was asked.
pub const DEVICES_PATIENCE: Duration = Duration::from_secs(1);

/// Journal records that one query of events examines: about a tenth of a second of one core.
/// Beyond, the client gets what was found and a cursor.
pub const HISTORY_SCAN_RECORDS: usize = 50_000;

/// Journal records that one question about a series examines, where there is no database: some
/// seconds of one core where all are of devices.
pub const SERIES_SCAN_RECORDS: usize = 3_000_000;

/// Points of a series, unless asked otherwise: as many as a plot has room for.
pub const SERIES_POINTS: u32 = 500;

/// Points of a series at most.
pub const MAXIMUM_SERIES_POINTS: u32 = 10_000;

/// Queries of events that read the journal at one moment.
pub const HISTORY_SCANS: usize = 2;

/// How far a device's clock may be ahead of the bridge's before a query of events by time can
/// miss its events.
pub const CLOCK_AHEAD: Duration = Duration::from_secs(24 * 3600);

/// Connections to the HTTP server, streams and WebSockets among them; more are closed at once, and browsers try again.
/// An idle stream has about 2 kB of memory, one whose client does not read 64 kB more.
pub const HTTP_CONNECTIONS: usize = 16_384;

/// Share of the file descriptors that they take at most, unless configured otherwise: half, so that a flood of browsers
/// leaves devices theirs.
pub const HTTP_CONNECTIONS_DIVISOR: u64 = 2;

/// Connections to the HTTP server from one address: an office behind one router, with six for each browser. This
/// machine's own, where proxies are, have no such limit.
pub const HTTP_CONNECTIONS_PER_ADDRESS: usize = 1_024;

/// Time for a client to send the head of a request, also from one request to the next.
pub const HTTP_HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// Time for which events are looked for in the journal before a client that does not want to wait is told how far
/// that has come: longer than most filters need, shorter than a request's time-out.
pub const STREAM_SEARCH: Duration = Duration::from_secs(5);

/// Bytes that the HTTP server buffers for one connection before it waits for the client.
pub const HTTP_BUFFER_BYTES: usize = 64 << 10;

/// Time for which a client of the HTTP server may take nothing of what waits for it: longer than a mobile network is
/// away in a tunnel, shorter than it is worth holding its buffers. The system tells of room once a third of its own
/// buffer is free, up to 1.3 MB: a client that is behind on a link slower than 11 kB/s gets what is under way, and
/// resumes.
pub const HTTP_WRITE_TIMEOUT: Duration = Duration::from_secs(120);

/// Time that answers in progress get when the HTTP server stops. Streams end at once.
pub const HTTP_DRAIN: Duration = Duration::from_secs(5);

/// Rows at which a COPY is full, give or take a journal batch: some 3 MB, beside which the five
/// round trips of its transaction are nothing.
pub const TIMESCALE_BATCH_ROWS: usize = 5_000;

/// How far the time of an event may lie before that of another one in front of it for rows to be stored as they
/// come: within this they are most likely of one chunk, which has a day or more.
pub const TIMESCALE_LATE: Duration = Duration::from_secs(3600);

/// Time for a session with the database to open, and for an idle one to answer.
pub const TIMESCALE_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for one transaction of the writer. Locks of others may hold it up; a server that is
/// gone without a word is found out by this.
pub const TIMESCALE_TIMEOUT: Duration = Duration::from_secs(60);

/// How often an idle session is asked whether it lives, so that readiness is true.
pub const TIMESCALE_PING_INTERVAL: Duration = Duration::from_secs(5);

/// First pause after the database failed; doubles with each failure.
pub const TIMESCALE_RETRY_MINIMUM: Duration = Duration::from_millis(100);

/// Longest pause while the database is away: the delay of recovery, against noise in its log.
pub const TIMESCALE_RETRY_MAXIMUM: Duration = Duration::from_secs(5);

/// Different reasons that one outage of the database is explained with in the log.
pub const TIMESCALE_TOLD_REASONS: usize = 8;

/// How often old events are looked for, less up to a tenth by chance.
pub const KEEP_INTERVAL: Duration = Duration::from_secs(3600);

/// First pause after old events could not be looked for; doubles up to [`KEEP_INTERVAL`].
pub const KEEP_RETRY: Duration = Duration::from_secs(1);

/// Time for one run that takes old events away.
pub const KEEP_TIMEOUT: Duration = Duration::from_secs(1800);

/// How long that waits for a lock: whoever writes queues behind it.
pub const KEEP_LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// Rows of a plain table that one transaction deletes, and the pause to the next: a tenth of a
/// second or so of work each.
pub const KEEP_DELETE_ROWS: u64 = 10_000;

/// See [`KEEP_DELETE_ROWS`].
pub const KEEP_DELETE_PAUSE: Duration = Duration::from_millis(100);

/// How long converting the table of events waits to have it alone: others queue behind it meanwhile.
pub const CONVERT_LOCK_TIMEOUT: Duration = Duration::from_secs(30);

/// Chunks that converting the table of events makes, if longer ones can help it: each takes some of the
/// server's locks until the end of the transaction, and 64 for each of 100 connections are its default.
pub const CONVERT_CHUNKS: i64 = 500;

/// How often a draining backlog is told of in the log.
pub const TIMESCALE_PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Events of other writers that are taken over at a time: one round trip and one fsync for all of them.
pub const IMPORT_BATCH_ROWS: i64 = 500;

/// Bytes of events of other writers that are taken over at a time, give or take one event.
pub const IMPORT_BATCH_BYTES: i64 = 1 << 20;

/// Bytes of all columns of another writer's event, beyond which streams show it without data and metadata: as much
/// as a device may send.
pub const MAXIMUM_IMPORTED_BYTES: i64 = MAXIMUM_PACKET_SIZE as i64;

/// Characters that are left of each other text of an event that is too large: twice what a type may have.
pub const OMITTED_TEXT_CHARACTERS: i32 = 256;

/// How often it is looked without a signal whether other writers have written, and the session is proved alive.
pub const IMPORT_POLL_INTERVAL: Duration = Duration::from_secs(5);

/// How often a bridge asks whether the other one that imports from the same database is gone.
pub const IMPORT_TURN_INTERVAL: Duration = Duration::from_millis(500);

/// Stretches of minutes whose rollups are due that one question about a series tells apart; each is a search of its own.
pub const SERIES_DUE_STRETCHES: usize = 32;
/// One record of a file that is imported, in bytes: more than any event has, and what an open quote costs at most.
pub const FILE_RECORD_BYTES: usize = 16 << 20;

/// Rows of one group of a Parquet file: what a reader has to take at once.
pub const PARQUET_GROUP_ROWS: usize = 65_536;

/// JSON of the events of one such group, in bytes. Both columns and their pages are in memory until it is written.
pub const PARQUET_GROUP_BYTES: usize = 8 << 20;

/// Events of a file that are stored in one transaction: as many as of the journal.
pub const LOAD_BATCH_ROWS: usize = TIMESCALE_BATCH_ROWS;

/// Bytes of them, give or take one event.
pub const LOAD_BATCH_BYTES: usize = 4 << 20;

/// Time for one such transaction. Events of years make a chunk for each day, each some milliseconds.
pub const LOAD_TIMEOUT: Duration = Duration::from_secs(600);

/// Records of a file that are bad and told of one by one.
pub const TOLD_BAD_RECORDS: u64 = 20;

/// How often the bridge looks for minutes whose rollups are due, where it keeps them itself.
pub const ROLLUP_INTERVAL: Duration = Duration::from_secs(10);

/// Minutes whose rollups are computed in one transaction.
pub const ROLLUP_MINUTES: i64 = 60;

/// Time for one such transaction. It reads at most an hour of all measurements.
pub const ROLLUP_TIMEOUT: Duration = Duration::from_secs(600);

/// How long after a message a device may send it again, with the same name, and the table still has
/// it once: a day, for devices that were switched off in between.
pub const DEDUPE_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// Where commands to devices are published, unless a request or the configuration says otherwise.
pub const COMMAND_TOPIC: &str = "devices/{device}/commands";

/// Where their answers are published, likewise.
pub const COMMAND_RESPONSE_TOPIC: &str = "devices/{device}/responses";

/// Time in which a device must have answered a command: an hour, for devices that wake up now and then.
pub const COMMAND_EXPIRY: Duration = Duration::from_secs(3600);

/// Longest such time: a month. What a command says may hold the journal for as long.
pub const MAXIMUM_COMMAND_EXPIRY: Duration = Duration::from_secs(31 * 86_400);

/// How long a request waits for the answer of the device, unless it says so itself.
pub const COMMAND_WAIT: Duration = Duration::from_secs(10);

/// How long at most: proxies give up after a minute.
pub const MAXIMUM_COMMAND_WAIT: Duration = Duration::from_secs(50);

/// Commands that wait for an answer at a time, some 500 bytes of memory each.
pub const OPEN_COMMANDS: usize = 10_000;

/// Those of one device, so that one that never answers leaves room for others.
pub const OPEN_COMMANDS_OF_DEVICE: usize = 1_000;

/// Commands that are known after their end.
pub const FINISHED_COMMANDS: usize = 10_000;

/// How long they are known then: as long as the names of other requests.
pub const COMMANDS_KEPT: Duration = IDEMPOTENCY_WINDOW;

/// Commands on one page of `GET /api/devices/{device}/commands`, unless asked otherwise.
pub const COMMANDS_PAGE: u16 = 20;

/// Commands on one page at most: it is made in the dispatcher's own time.
pub const MAXIMUM_COMMANDS_PAGE: u16 = 200;

/// Commands that the dispatcher puts on record in one append.
pub const COMMANDS_AT_ONCE: usize = 256;

/// Bytes at which such an append ends early: what commands and answers say is in it.
pub const COMMANDS_BATCH_BYTES: usize = 4 << 20;

/// Bytes of the name of a device that is to be commanded: it is a level of a topic.
pub const MAXIMUM_DEVICE_NAME_BYTES: usize = 256;

/// Commands whose answers one WebSocket waits for; its stream goes on meanwhile.
pub const SOCKET_COMMANDS: usize = 32;

/// Rules by which events become messages: each is compared with every event's type.
pub const EGRESS_RULES: usize = 64;

/// Messages that they publish in one append.
pub const EGRESS_BATCH: usize = 1_000;

/// Bytes at which such an append ends early.
pub const EGRESS_BATCH_BYTES: usize = 1 << 20;

/// How often it is stored how far they are. What was published since is looked for at a start.
pub const EGRESS_CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);

/// How long the name of what was published by HTTP is remembered: a day, for programs that try again after a night.
pub const IDEMPOTENCY_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// How often names are looked for that are older.
pub const IDEMPOTENCY_UPKEEP: Duration = Duration::from_secs(3600);

/// Names that are looked at in one step of it.
pub const IDEMPOTENCY_STEP: usize = 256;

/// Dead letters that are replayed in one transaction.
pub const REPLAY_LETTERS: i64 = 200;

/// Dead letters on one page of `GET /api/dead-letters`, unless asked otherwise.
pub const DEAD_LETTERS_PAGE: u16 = 20;

/// Dead letters on one page of `GET /api/dead-letters` at most: each has its whole payload.
pub const MAXIMUM_DEAD_LETTERS_PAGE: u16 = 100;

/// Characters of the reason why a payload is rejected.
pub const MAXIMUM_REASON_CHARS: usize = 300;

/// Connections for queries, beside the writer's one.
pub const QUERY_CONNECTIONS: u32 = 4;

/// Time for one query of events, and for a connection to ask it on.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(10);

/// Arrays, maps and messages within each other in a payload that is decoded to JSON: as deep as
/// JSON may be itself, well inside of what `jsonb` takes.
pub const MAXIMUM_DECODED_DEPTH: usize = 128;

/// Bytes of JSON that a binary payload may become. One byte of CBOR can be fourteen of JSON; what
/// is larger stays as it is, in base64.
pub const MAXIMUM_DECODED_BYTES: usize = 4 << 20;

/// Births that are remembered of one Sparkplug node or device: for readers of the journal that lag
/// behind the newest one.
pub const KEPT_BIRTHS: usize = 4;

/// Metrics that all remembered Sparkplug births name together, at some 100 bytes each: 10 MB.
/// Aliases of further ones stay numbers.
pub const MAXIMUM_BIRTH_METRICS: usize = 100_000;

/// How far before the time of receipt a device's time may lie: twenty years, for what was recorded
/// long ago and is sent at last. Clocks that never were set stand at 1970 or 2000.
pub const EVENT_TIME_PAST: Duration = Duration::from_secs(7_300 * 24 * 3600);

/// How far after the time of receipt a device's time may lie: a day, for clocks in the wrong zone.
pub const EVENT_TIME_AHEAD: Duration = Duration::from_secs(24 * 3600);

/// The size that a number which is measured stays below: sums of a hundred million such are still numbers to a database,
/// whose `float8` ends at 1.8e308. One sum beyond it would stop all rollups.
pub const MEASUREMENT_BOUND: f64 = 1e300;

/// Numbers of one event that become measurements. Each is a row of some 60 bytes with as much of
/// key, so that a MiB of digits could be ten thousandfold work.
pub const MAXIMUM_MEASUREMENTS: usize = 1_000;

/// Bytes of a metric's name: device and metric must fit into an entry of the key, 2,704 bytes.
pub const MAXIMUM_METRIC_BYTES: usize = 256;

/// Shares of the memory budget, in 1/64. They add up to less than the whole: the rest is for
/// sessions and in-flight messages.
pub mod share {
    /// Records that tailing readers find in memory.
    pub const JOURNAL_TAIL: u64 = 16;
    /// Records appended and not yet on disk; above this, publishers wait.
    pub const JOURNAL_PENDING: u64 = 8;
    /// Encoded events that stream clients find in memory.
    pub const STREAM_WINDOW: u64 = 8;
    /// Rows encoded for one COPY.
    pub const TIMESCALE_BATCH: u64 = 8;
    /// The embedded store's block cache.
    pub const STATE_CACHE: u64 = 4;
}

/// `share` 64ths of the memory budget.
#[must_use]
pub const fn scaled(memory: u64, share: u64) -> u64 {
    memory / 64 * share
}
