-- Several servers on one database: which stream of a session is the newest, when a series was last heard of,
-- and partitions made and dropped without holding up those who read and write.
ALTER TABLE agent ADD COLUMN stream bigint NOT NULL DEFAULT 0;
ALTER TABLE series ADD COLUMN received_at bigint NOT NULL DEFAULT 0;

-- Makes the daily partitions from from_us (cut to its day) for `days` days; returns how many are new,
-- or -1 when somebody held a lock it needs: then it is to be called again. A partition is made apart
-- and attached, so that sample itself can be written and read meanwhile.
CREATE OR REPLACE FUNCTION belay_sample_partitions(from_us bigint, days integer) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
  day_us CONSTANT bigint := 86400000000;
  first bigint := from_us / day_us;
  made integer := 0;
  part text;
BEGIN
  PERFORM set_config('lock_timeout', '100ms', true);
  FOR day IN first .. first + days - 1 LOOP
    part := 'sample_' || to_char(to_timestamp(day * 86400) AT TIME ZONE 'UTC', 'YYYYMMDD');
    IF to_regclass(part) IS NULL THEN
      -- Rows that reached the default partition for that day would make this fail: then it stays there.
      BEGIN
        EXECUTE format('CREATE TABLE %I (LIKE sample INCLUDING ALL)', part);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', part);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', part);
        EXECUTE format('CREATE POLICY wall ON %I USING (belay_visible(workspace_id))', part);
        EXECUTE format('ALTER TABLE sample ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
                       part, day * day_us, (day + 1) * day_us);
        made := made + 1;
      EXCEPTION
        WHEN check_violation THEN
          NULL;
        WHEN lock_not_available THEN
          RETURN -1;
      END;
    END IF;
  END LOOP;
  RETURN made;
END
$$;

DROP FUNCTION belay_sample_retain(bigint);

-- One portion of what is older than before_us: a daily partition, or rows of the rest. 0: nothing
-- is left, 1: call again, in another transaction. Dropping a partition locks out whoever writes or
-- reads sample, and those who come later wait behind it: so it waits for a tenth of a second at most,
-- and one partition goes at a time. (DETACH CONCURRENTLY is not for tables with a default partition.)
CREATE FUNCTION belay_sample_retain(before_us bigint, max_rows integer) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
  part text;
  removed integer;
BEGIN
  SELECT c.relname INTO part FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
  WHERE i.inhparent = CAST('sample' AS regclass) AND c.relname ~ '^sample_[0-9]{8}$'
    AND c.relname < 'sample_' || to_char(to_timestamp(before_us / 1000000) AT TIME ZONE 'UTC', 'YYYYMMDD')
  ORDER BY c.relname LIMIT 1;
  IF part IS NOT NULL THEN
    PERFORM set_config('lock_timeout', '100ms', true);
    BEGIN
      EXECUTE format('DROP TABLE %I', part);
    EXCEPTION WHEN lock_not_available THEN
      NULL;
    END;
    RETURN 1;
  END IF;
  DELETE FROM sample_rest WHERE ctid IN (SELECT ctid FROM sample_rest WHERE time_us < before_us LIMIT max_rows);
  GET DIAGNOSTICS removed = ROW_COUNT;
  RETURN CASE WHEN removed = max_rows THEN 1 ELSE 0 END;
END
$$;
