-- The numbers of events whose route asks for it, one a row. The key serves "this metric of this
-- device over time", and makes a row that is written again the same row: the event's id follows
-- from the journal, and an event has a metric once at one time.
create table mqtt.measurements (
    time timestamptz not null,
    device text not null,
    metric text not null,
    value double precision not null,
    event uuid not null,
    primary key (device, metric, time, event)
);
comment on column mqtt.measurements.device is 'name of the event''s subject';
comment on column mqtt.measurements.event is 'id of the event, which may itself not be kept';
-- Rollups read short spans of time of all devices; rows come nearly in order.
create index measurements_time_idx on mqtt.measurements using brin (time) with (autosummarize = on, pages_per_range = 32);

do $$
declare
    timescale regnamespace;
begin
    select extnamespace into timescale from pg_extension where extname = 'timescaledb';
    if timescale is not null then
        execute format(
            'select %s.create_hypertable(''mqtt.measurements'', ''time'', '
            'chunk_time_interval => interval ''1 day'', create_default_indexes => false)', timescale);
    end if;

    -- Rollups of a minute and of an hour. Where the licence has continuous aggregates, they are those.
    if timescale is not null and current_setting('timescaledb.license', true) = 'timescale' then
        begin
        execute format(
            'create materialized view mqtt.measurements_1m with (timescaledb.continuous, timescaledb.materialized_only = false) as '
            'select %1$s.time_bucket(interval ''1 minute'', time) as bucket, device, metric, count(*) as count, '
            'sum(value) as sum, min(value) as min, max(value) as max, %1$s.last(value, time) as last '
            'from mqtt.measurements group by 1, 2, 3 with no data', timescale);
        execute format(
            'create materialized view mqtt.measurements_1h with (timescaledb.continuous, timescaledb.materialized_only = false) as '
            'select %1$s.time_bucket(interval ''1 hour'', bucket) as bucket, device, metric, sum(count)::bigint as count, '
            'sum(sum) as sum, min(min) as min, max(max) as max, %1$s.last(last, bucket) as last '
            'from mqtt.measurements_1m group by 1, 2, 3 with no data', timescale);
        -- Without a start, data of any age that comes late is worked in.
        execute format(
            'select %1$s.add_continuous_aggregate_policy(''mqtt.measurements_1m'', null, interval ''1 minute'', interval ''1 minute''), '
            '%1$s.add_continuous_aggregate_policy(''mqtt.measurements_1h'', null, interval ''1 hour'', interval ''10 minutes'')', timescale);
        return;
        exception when others then
            raise warning 'no continuous aggregates, the bridge keeps rollups itself: %', sqlerrm;
        end;
    end if;

    -- Elsewhere they are tables that the bridge keeps.
    create table mqtt.measurements_1m (
        bucket timestamptz not null,
        device text not null,
        metric text not null,
        count bigint not null,
        sum double precision not null,
        min double precision not null,
        max double precision not null,
        last double precision not null,
        primary key (device, metric, bucket)
    );
    create table mqtt.measurements_1h (like mqtt.measurements_1m including all);
    create index measurements_1m_bucket_idx on mqtt.measurements_1m using brin (bucket) with (autosummarize = on, pages_per_range = 32);
    if timescale is not null then
        execute format(
            'select %1$s.create_hypertable(''mqtt.measurements_1m'', ''bucket'', '
            'chunk_time_interval => interval ''7 days'', create_default_indexes => false), '
            '%1$s.create_hypertable(''mqtt.measurements_1h'', ''bucket'', '
            'chunk_time_interval => interval ''90 days'', create_default_indexes => false)', timescale);
    end if;
    -- Minutes whose rollups are to be computed again. The writer sets `version` in the transaction that
    -- stores the rows, and a minute is only struck off at the version that was computed.
    create table mqtt.measurements_touched (
        bucket timestamptz primary key,
        version bigint not null
    );
end
$$;
