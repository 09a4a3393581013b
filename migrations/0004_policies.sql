-- Policies of TimescaleDB that the bridge has made for what its configuration says, so that it
-- changes them with it, and takes away none that the pod has made itself.
create table mqtt.policies (
    relation text not null,
    kind text not null,
    primary key (relation, kind)
);
