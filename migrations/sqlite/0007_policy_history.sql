-- The versions of policies are found without reading the whole log, and tests of policies have a view.
CREATE INDEX log_policies ON log (revision) WHERE action LIKE 'policy %';

CREATE VIEW policy_tests AS
SELECT name, document ->> 'description' AS description, document ->> 'assertions' AS assertions, revision
FROM objects WHERE kind = 9;
