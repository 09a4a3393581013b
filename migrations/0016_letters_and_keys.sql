-- What else there is to a publication, so that it can be mapped anew. Null in letters that are older.
alter table mqtt.dead_letters add column qos smallint;
alter table mqtt.dead_letters add column retain boolean;
alter table mqtt.dead_letters add column guaranteed boolean;
alter table mqtt.dead_letters add column properties bytea;
comment on column mqtt.dead_letters.properties is 'properties of the PUBLISH packet, as on the wire';

create index dead_letters_received_idx on mqtt.dead_letters (received_at, journal, sequence);

-- The first event of each name that devices give their messages, for the routes that ask for it.
-- Times are the journal's, in microseconds since 1970.
create table mqtt.message_keys (
    key uuid primary key,
    event uuid not null,
    received bigint not null,
    until bigint not null
);
create index message_keys_until_idx on mqtt.message_keys (until);
