-- Events that other writers put into the table `events` join the stream:
-- docs/decisions/0013-other-writers.md. A trigger notes each such row here, and the bridge takes it
-- out once its journal has the event. A queue and no cursor: whatever order transactions commit in,
-- a row that becomes visible late is still here.
create table mqtt.arrivals (
    number bigint generated always as identity primary key,
    id uuid not null,
    "timestamp" timestamptz not null,
    noted_at timestamptz not null default clock_timestamp()
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
comment on table mqtt.arrivals is 'rows of `events` by other writers that the bridge has not taken over yet';

-- What of them each journal has. Moved in the statement that takes entries out.
create table mqtt.importer (
    journal uuid primary key,
    sequence bigint not null,
    last_sequence bigint,
    last_event uuid,
    updated_at timestamptz not null default now()
);
comment on column mqtt.importer.sequence is 'no event at or before it is in mqtt.arrivals';
comment on column mqtt.importer.last_event is 'id of the last event taken over, which the journal has at last_sequence';

-- Runs in the transactions of other writers, whose roles need no right for it.
create function mqtt.note_arrival() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    insert into mqtt.arrivals (id, "timestamp") values (new.id, new."timestamp");
    -- The server merges equal ones of a transaction.
    perform pg_notify('mqtt_arrivals', '');
    return null;
end
$$;
revoke execute on function mqtt.note_arrival() from public;

-- Makes the trigger, once. For the owner of `events`. Apart from the migration, because the table may be
-- replaced by another one later.
create function mqtt.watch_events() returns void language plpgsql set lock_timeout = '5s' as $$
declare
    target regclass := to_regclass('events');
begin
    if exists (select from pg_trigger where tgrelid = target and tgname = 'mqtt_arrivals') then
        return;
    end if;
    if not exists (select from pg_attribute where attrelid = target and attname = 'id' and atttypid = 'uuid'::regtype)
        or not exists (select from pg_attribute
            where attrelid = target and attname = 'timestamp' and atttypid = 'timestamptz'::regtype)
    then
        raise exception 'the table events does not have its columns id as uuid and timestamp as timestamptz'
            using errcode = 'datatype_mismatch';
    end if;
    -- For each row, because hypertables had no transition tables before TimescaleDB 2.18. The bridge's
    -- own rows are passed over before anything is queued for them.
    execute format(
        'create trigger mqtt_arrivals after insert on %s for each row '
        'when (new.id is not null and new."timestamp" is not null '
        'and pg_catalog.current_setting(''mqtt.writer'', true) is distinct from ''bridge'') '
        'execute function mqtt.note_arrival()', target);
end
$$;

-- Ends it. What was noted and not taken over is given up.
create function mqtt.unwatch_events() returns void language plpgsql set lock_timeout = '5s' as $$
begin
    execute format('drop trigger if exists mqtt_arrivals on %s', to_regclass('events'));
    truncate mqtt.arrivals;
end
$$;
