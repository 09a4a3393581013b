-- A journal that was restored from an older copy goes on by itself: the same identity, the same
-- sequences, other events. The id of the last event tells whether a journal is the one that
-- was written from; it is null until one was.
alter table mqtt.writer_cursor add column last_event uuid;
comment on column mqtt.writer_cursor.last_event is 'id of the last event at or before sequence';

-- Where the writer has to go back, this says how far it must look before it stores.
alter table mqtt.writer_cursor add column known_through bigint not null default 0;
comment on column mqtt.writer_cursor.known_through is 'events up to this sequence may be in the table already';

-- For the same reason a sequence alone does not tell publications apart.
alter table mqtt.dead_letters drop constraint dead_letters_pkey;
alter table mqtt.dead_letters add primary key (journal, sequence, received_at);
