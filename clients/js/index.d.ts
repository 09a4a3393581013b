/** What credentials are shown: none, a key or token, or a function that gives one. It is asked again where one is refused. */
export type Token = string | ((refused: boolean) => string | Promise<string>);

export interface ClientOptions {
  /** Shown as `Authorization: Bearer`; over WebSocket in browsers as a ticket that it is exchanged for. */
  token?: Token;
  /** Instead of the global one. */
  fetch?: typeof globalThis.fetch;
  /** Instead of the global one. Node.js has one from version 22 on; before, the package `ws` fits. */
  WebSocket?: new (url: string) => WebSocketLike;
}

/** As much of a WebSocket as is used. */
export interface WebSocketLike {
  readonly readyState: number;
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  send(text: string): void;
  close(code?: number, reason?: string): void;
}

/** An event of the pod (SynapEvent v1). */
export interface SynapEvent {
  id: string;
  version: "v1";
  type: string;
  timestamp: string;
  userId: string;
  subjectId?: string;
  subjectType?: string;
  data: Record<string, unknown>;
  metadata?: Record<string, unknown>;
  source: string;
  correlationId?: string;
  causationId?: string;
  requestId?: string;
}

/** Any value of a kind matches, and every kind that is given must. Without any, everything does. */
export interface Filters {
  /** MQTT topic filters. */
  topics?: readonly string[];
  /** Event types, exactly. */
  types?: readonly string[];
  /** Names of devices, exactly. */
  devices?: readonly string[];
}

/**
 * - `guaranteed`: every event, once, in order.
 * - `best-effort`: as far as one keeps up; what is left out is counted in a gap.
 * - `latest`: of each topic the newest value, a few times a second.
 */
export type Mode = "guaranteed" | "best-effort" | "latest";

export type Transport = "sse" | "websocket";

/** `waiting`: the connection is lost, and there is another attempt in a moment. */
export type State = "connecting" | "open" | "waiting" | "closed";

/** Events are missing here. */
export interface Gap {
  /** `retention`, `damage`, `slow` or `unknown-epoch`; others may come. */
  reason: string;
  /** Behind which id. */
  requested?: string;
  /** The first that follows. */
  oldest?: string;
  /** How many, where that is known. */
  count?: number;
  /** The id is of another past: what has been shown may never have been. What is kept comes anew. */
  reset?: boolean;
}

/** The snapshot is over, changes follow. */
export interface Snapshot {
  /** How many events it had. */
  events?: number;
  /** Whether every topic was in it. */
  complete?: boolean;
}

export interface SubscribeOptions extends Filters {
  /** `guaranteed` if not given. */
  mode?: Mode;
  /** With `latest`: events of one topic a second, 1 to 60. */
  rate?: number;
  /** First the newest event of each topic, then changes. Without effect where `after` is given. */
  snapshot?: boolean;
  /** Resume behind this event. */
  after?: string;
  /** A replay: the stream ends behind this event. With `sse` only. */
  until?: string;
  /** `sse` if not given. */
  transport?: Transport;
  /** Over WebSocket: events that may wait to be taken, 1 to 1,000; 200 if not given. */
  window?: number;
  /** Milliseconds without a word, not even a heartbeat, after which the connection is given up; 50,000 if not given. */
  silence?: number;
  /** Milliseconds before the first new attempt (1,000) and at most (30,000). Each is doubled and then shortened by chance. */
  backoff?: { base?: number; cap?: number };
  /** Ends it. */
  signal?: AbortSignal;
  /** Each event, in order. With it there is nothing to iterate; the next one comes when its promise is fulfilled. */
  onEvent?: (event: SynapEvent, id: string | undefined) => void | Promise<void>;
  /** Events are missing here; called in order with the events. */
  onGap?: (gap: Gap) => void;
  /** As `onGap`, where `reset` is true. Without it, `onGap` is called. */
  onReset?: (gap: Gap) => void;
  /** A snapshot is over; called in order with the events. */
  onSnapshot?: (snapshot: Snapshot) => void;
  /** `cause` is why a connection is lost. */
  onState?: (state: State, cause?: Error) => void;
}

/** A stream that resumes by itself. It is read by iterating, once, or by `onEvent`. */
export interface Subscription extends AsyncIterable<SynapEvent, void, undefined> {
  /** Of the last event that was handed over, or a position behind it: where another subscription may go on. */
  readonly lastEventId: string | undefined;
  readonly state: State;
  readonly transport: Transport;
  /** Fulfilled when it is over; rejected where it cannot go on. */
  readonly closed: Promise<void>;
  /**
   * Wants other events from here on. Over WebSocket, the connection stays; over SSE there is a new one. With `snapshot`,
   * the newest event of each of the topics comes first.
   */
  setFilters(filters: Filters, options?: { snapshot?: boolean }): void;
  /** Goes on over the other transport, behind the last event. */
  setTransport(transport: Transport): void;
  /** Ends it. */
  close(): void;
}

/** A message: at most one of `payload`, `text` and `base64`. */
export interface Message {
  /** Any JSON. */
  payload?: unknown;
  text?: string;
  /** Anything. */
  base64?: string;
  /** 1 if not given. */
  qos?: 0 | 1 | 2;
}

export interface Publication extends Message {
  topic: string;
  retain?: boolean;
  properties?: {
    payloadFormatIndicator?: 0 | 1;
    messageExpiryInterval?: number;
    contentType?: string;
    responseTopic?: string;
    /** Base64. */
    correlationData?: string;
    userProperties?: readonly (readonly [string, string])[];
  };
}

export interface Published {
  eventId: string;
  lastEventId: string;
  /** Whether it had been published before, by a request with this key. */
  duplicate: boolean;
}

export interface CommandRequest extends Message {
  /** Instead of the topic of the configuration. */
  topic?: string;
  responseTopic?: string;
  /** Seconds in which the device must have answered. */
  expiry?: number;
  /** Seconds to wait for the answer, 0 to 50; 10 if not given. */
  wait?: number;
  properties?: Pick<NonNullable<Publication["properties"]>, "payloadFormatIndicator" | "contentType" | "userProperties">;
}

export interface Command {
  id: string;
  device: string;
  state: "waiting" | "sent" | "delivered" | "completed" | "expired";
  topic: string;
  responseTopic: string;
  qos: number;
  requestedAt: string;
  expiresAt: string;
  deliveredAt: string | null;
  completedAt: string | null;
  /** With `answer`, once there is one. */
  completion: ({ answer?: unknown } & Record<string, unknown>) | null;
}

export interface RequestOptions {
  /**
   * Names the request: the same one with the same key is done once. One is made up if not given, so that a request
   * may be repeated where its answer is lost.
   */
  idempotencyKey?: string;
  /** How often it is tried, 4 times if not given. */
  attempts?: number;
  signal?: AbortSignal;
}

/** A refusal, as the bridge has put it (RFC 9457). */
export declare class ProblemError extends Error {
  readonly status: number;
  readonly problem: Readonly<Record<string, unknown>>;
  /** Of a command that is not answered yet: it goes on. */
  readonly commandId: string | undefined;
  /** Milliseconds, where the bridge has said when to come again. */
  readonly retryAfter: number | undefined;
  /** Whether the same may succeed later. */
  readonly isTransient: boolean;
}

/** A bridge, by its URL. */
export declare class MqttStream {
  constructor(url: string | URL, options?: ClientOptions);
  subscribe(options?: SubscribeOptions): Subscription;
  /** Publishes; fulfilled once the message is on disk. */
  publish(publication: Publication, options?: RequestOptions): Promise<Published>;
  /**
   * Asks a device to do something, and waits for its answer. Rejected with a `ProblemError` of status 504 where none
   * has come; its `commandId` is for asking later.
   */
  command(device: string, command: CommandRequest, options?: RequestOptions): Promise<Command>;
  /** How far a command has come. */
  commandById(device: string, id: string, options?: { signal?: AbortSignal }): Promise<Command>;
  /** The newest commands of a device, without their answers. */
  commands(device: string, options?: { signal?: AbortSignal }): Promise<Command[]>;
}
