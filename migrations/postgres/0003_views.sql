-- One view per kind of object, for operators.
CREATE VIEW clusters AS
SELECT encode(uid, 'hex') AS uid, name, document ->> 'region' AS region, document -> 'prefixes' AS prefixes,
       document -> 'labels' AS labels, document ->> 'defaultAction' AS default_action, revision
FROM objects WHERE kind = 2;

CREATE VIEW fleet AS
SELECT document ->> 'vip4' AS vip4, document ->> 'vip6' AS vip6, document -> 'excludedLabelKeys' AS excluded_label_keys, revision
FROM objects WHERE kind = 1;

CREATE VIEW nodes AS
SELECT clusters.name AS cluster, objects.name, document -> 'labels' AS labels, document -> 'addresses' AS addresses, objects.revision
FROM objects JOIN clusters ON clusters.uid = encode(objects.cluster, 'hex') WHERE kind = 3;

CREATE VIEW namespaces AS
SELECT clusters.name AS cluster, objects.name, document -> 'labels' AS labels, objects.revision
FROM objects JOIN clusters ON clusters.uid = encode(objects.cluster, 'hex') WHERE kind = 4;

CREATE VIEW endpoints AS
SELECT clusters.name AS cluster, objects.namespace, document ->> 'name' AS workload, document ->> 'node' AS node,
       document -> 'addresses' AS addresses, document -> 'labels' AS labels, document ->> 'serviceAccount' AS service_account,
       document ->> 'ready' AS ready, encode(objects.uid, 'hex') AS uid, objects.revision
FROM objects JOIN clusters ON clusters.uid = encode(objects.cluster, 'hex') WHERE kind = 5;

CREATE VIEW service_exports AS
SELECT clusters.name AS cluster, objects.namespace, objects.name, document -> 'ports' AS ports,
       document -> 'selector' AS selector, document ->> 'weight' AS weight, objects.revision
FROM objects JOIN clusters ON clusters.uid = encode(objects.cluster, 'hex') WHERE kind = 6;

CREATE VIEW service_imports AS
SELECT namespace, name, document -> 'vips' AS vips, document -> 'ports' AS ports, document -> 'clusters' AS clusters,
       document -> 'conflicts' AS conflicts, revision
FROM objects WHERE kind = 7;

CREATE VIEW policies AS
SELECT clusters.name AS cluster, objects.namespace, objects.name, document ->> 'tier' AS tier, document ->> 'priority' AS priority,
       document ->> 'enforcement' AS enforcement, document ->> 'disabled' AS disabled, document ->> 'owner' AS owner, objects.revision
FROM objects LEFT JOIN clusters ON clusters.uid = encode(objects.cluster, 'hex') WHERE kind = 8;
