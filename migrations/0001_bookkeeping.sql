-- What the bridge itself must remember. The schema `mqtt` was made by the migrations' runner,
-- whose own table lies in it too, so that nothing of the pod's is touched.

-- How far each journal's records are in the table `events`. Moved in the transaction that
-- stores the rows, by compare-and-set: this is what makes "once each" true.
create table mqtt.writer_cursor (
    journal uuid primary key,
    sequence bigint not null,
    updated_at timestamptz not null default now()
);

-- Publications that the table `events` refused, whole.
create table mqtt.dead_letters (
    journal uuid not null,
    sequence bigint not null,
    received_at timestamptz not null,
    topic text not null,
    client_id text not null,
    payload bytea not null,
    reason text not null,
    event text not null,
    created_at timestamptz not null default now(),
    primary key (journal, sequence)
);
comment on column mqtt.dead_letters.event is
    'the SynapEvent as it was to be stored; text, because jsonb may be what refused it';
