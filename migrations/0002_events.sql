-- The pod's events. A table that exists already is used as it is. Without TimescaleDB a plain
-- table is made, whose key lets `create_hypertable(…, migrate_data => true)` take it over.
-- Key and indexes: docs/decisions/0004-events-table.md.
do $$
declare
    timescale regnamespace;
begin
    if to_regclass('events') is not null then
        return;
    end if;

    create table events (
        id uuid not null default gen_random_uuid(),
        timestamp timestamptz not null default now(),
        type text not null,
        subject_id text not null,
        subject_type text not null,
        data jsonb not null,
        metadata jsonb,
        source text default 'api',
        correlation_id uuid,
        user_id text not null,
        primary key (id, timestamp)
    );
    create index events_subject_idx on events (subject_type, subject_id, timestamp);
    create index events_type_idx on events (type, timestamp);
    create index events_timestamp_idx on events (timestamp);

    -- The loader's setting exists only where the server has preloaded it; to create the
    -- extension elsewhere would end the connection.
    if current_setting('timescaledb.disable_load', true) is not null then
        begin
            create extension if not exists timescaledb;
        exception when insufficient_privilege or undefined_file or feature_not_supported then
            null;
        end;
    end if;
    select extnamespace into timescale from pg_extension where extname = 'timescaledb';
    if timescale is not null then
        execute format(
            'select %s.create_hypertable(''events'', ''timestamp'', '
            'chunk_time_interval => interval ''1 day'', create_default_indexes => false)', timescale);
    end if;
end
$$;
