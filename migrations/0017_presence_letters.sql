-- That a device has come or gone may be refused by the table as well. Such a letter is no message: its topic and
-- payload are empty, and this has what its event is made of. Null in letters of messages.
alter table mqtt.dead_letters add column presence text;
comment on column mqtt.dead_letters.presence is 'JSON: {"device", "details", "closed": {"opened", "since", "reason"}}';
