-- What a gate has to know beside its limits. Times are of the database's clock, all waits are in seconds.
ALTER TABLE helix.gate
    ADD COLUMN id TEXT GENERATED ALWAYS AS (encode(key_hash, 'hex')) STORED, -- the key as people and the audit log name it
    ADD COLUMN period_seconds DOUBLE PRECISION DEFAULT '60' NOT NULL CONSTRAINT ck_gate_period_seconds CHECK (period_seconds > 0),
    ADD COLUMN tokens_per_day BIGINT,
    ADD COLUMN failure_threshold INTEGER DEFAULT '5' NOT NULL,
    ADD COLUMN probe_cap_seconds DOUBLE PRECISION DEFAULT '60' NOT NULL,
    ADD COLUMN chosen_requests_per_minute DOUBLE PRECISION,
    ADD COLUMN chosen_tokens_per_minute DOUBLE PRECISION,
    ADD COLUMN chosen_max_concurrency INTEGER,
    ADD COLUMN told_requests DOUBLE PRECISION,
    ADD COLUMN told_tokens DOUBLE PRECISION,
    ADD COLUMN reserve_requests_tat TIMESTAMP WITH TIME ZONE,
    ADD COLUMN reserve_tokens_tat TIMESTAMP WITH TIME ZONE,
    ADD COLUMN interactive_at TIMESTAMP WITH TIME ZONE,
    ADD COLUMN interactive_since TIMESTAMP WITH TIME ZONE,
    ADD COLUMN largest_tokens INTEGER DEFAULT '0' NOT NULL,
    ADD COLUMN largest_at TIMESTAMP WITH TIME ZONE,
    ADD COLUMN token_ratio DOUBLE PRECISION DEFAULT '1' NOT NULL,
    ADD COLUMN failed_at TIMESTAMP WITH TIME ZONE,
    ADD COLUMN probe_wait DOUBLE PRECISION DEFAULT '0' NOT NULL,
    ADD COLUMN opened_at TIMESTAMP WITH TIME ZONE,
    ADD COLUMN shut_code TEXT,
    ADD COLUMN shut_scope TEXT,
    ADD COLUMN shut_at TIMESTAMP WITH TIME ZONE,
    ADD COLUMN day DATE,
    ADD COLUMN day_tokens BIGINT DEFAULT '0' NOT NULL;

ALTER TABLE helix.gate_lease
    ADD COLUMN holder BIGINT,
    ADD COLUMN starts_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    ADD COLUMN is_probe BOOLEAN DEFAULT 'false' NOT NULL,
    ADD COLUMN estimated_tokens INTEGER DEFAULT '0' NOT NULL,
    ADD COLUMN charged_tokens INTEGER DEFAULT '0' NOT NULL;

-- One row that is written thousands of times a minute: its dead versions must not wait for autovacuum's usual fifth.
ALTER TABLE helix.gate SET (autovacuum_vacuum_threshold = 50, autovacuum_vacuum_scale_factor = 0,
                            autovacuum_vacuum_cost_delay = 0);
ALTER TABLE helix.gate_lease SET (autovacuum_vacuum_threshold = 50, autovacuum_vacuum_scale_factor = 0,
                                  autovacuum_vacuum_cost_delay = 0);

-- What people decide is audited; what every request changes (arrival times, leases, counts) is not.
DROP TRIGGER audit ON helix.gate;
CREATE TRIGGER audit
    AFTER INSERT OR DELETE OR UPDATE OF requests_per_minute, tokens_per_minute, max_concurrency, period_seconds, tokens_per_day,
        chosen_requests_per_minute, chosen_tokens_per_minute, chosen_max_concurrency, shut_code, message
    ON helix.gate FOR EACH ROW EXECUTE FUNCTION helix.audit_row(
        '{requests_tat,tokens_tat,reserve_requests_tat,reserve_tokens_tat,interactive_at,interactive_since,largest_tokens,largest_at,token_ratio,failed_at,probe_wait,day,day_tokens}');

-- The gate's clock, in one place, so that a test can hold it.
CREATE FUNCTION helix.gate_clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT clock_timestamp()';

-- The limits in force: what an operator chose, else what the settings say, and never more than the service itself says
-- (its headers speak of its own period). Requests and tokens are of one period; a part of a request is none.
CREATE FUNCTION helix.gate_limits(
    g helix.gate, OUT requests double precision, OUT tokens double precision, OUT concurrency integer
) LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN n < 1 THEN n ELSE floor(n + 1e-6) END,
           least(coalesce(g.chosen_tokens_per_minute, g.tokens_per_minute) * g.period_seconds / 60, g.told_tokens),
           coalesce(g.chosen_max_concurrency, g.max_concurrency)
    FROM least(coalesce(g.chosen_requests_per_minute, g.requests_per_minute) * g.period_seconds / 60, g.told_requests) AS n
$$;

-- When a request of so many tokens may start, and the arrival times as they are then; nothing is written.
--
-- The generic cell rate algorithm: an account's theoretical arrival time (tat) moves on by what a request costs, and a request
-- may start `burst` before it. n + 1 requests of an account with `n` requests a window then span at least
-- n * interval - burst = period + jitter, so no window of `period`, wherever it lies, sees more than n, with `jitter` for the way
-- to the service. Tokens: any window has at most rate * (window + burst) + the largest request, for which the rate leaves room,
-- up to `most`. What a request has beyond that, or beyond the largest before it, it pays for beforehand.
CREATE FUNCTION helix.gate_slot(
    t timestamptz, period double precision, burst double precision,
    requests double precision, requests_tat timestamptz, tokens double precision, tokens_tat timestamptz,
    cost integer, largest integer,
    OUT start timestamptz, OUT next_requests_tat timestamptz, OUT next_tokens_tat timestamptz
) LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    second constant interval := interval '1 second';
    jitter constant double precision := 0.3;
    window_seconds constant double precision := period + jitter + burst;
    most constant double precision := tokens * 0.8;
    per_token constant double precision := window_seconds / (tokens - least(greatest(cost, largest), most));
    excess constant double precision := CASE WHEN largest > 0 THEN greatest(0, cost - least(largest, most)) ELSE 0 END;
BEGIN
    requests_tat := greatest(requests_tat, t);
    tokens_tat := greatest(tokens_tat, t) + excess * per_token * second;
    start := greatest(t, CASE WHEN requests IS NOT NULL THEN requests_tat - burst * second END,
                         CASE WHEN tokens IS NOT NULL THEN tokens_tat - burst * second END);
    next_requests_tat := greatest(requests_tat, start) + window_seconds / requests * second;
    next_tokens_tat := greatest(tokens_tat, start) + cost * per_token * second;
END $$;

-- Let the leases of dead holders lapse after some seconds, in which what they sent ends too. A living one has an advisory lock.
CREATE FUNCTION helix.gate_bury(p_key bytea, t timestamptz) RETURNS void LANGUAGE sql AS $$
    UPDATE helix.gate_lease l SET expires_at = t + interval '5 seconds'
    WHERE l.key_hash = p_key AND l.holder IS NOT NULL AND l.expires_at > t + interval '5 seconds'
      AND NOT EXISTS (
          SELECT FROM pg_locks k
          WHERE k.locktype = 'advisory' AND k.granted AND k.objsubid = 1
            AND k.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
            AND (k.classid::bigint << 32 | k.objid::bigint) = l.holder)
$$;

-- Ask for the right to send one request. `verdict`: granted (wait, then send), or why not, with the seconds after which to ask
-- again: busy (all places taken), late (the turn comes after max_wait), blocked (the service asked for patience), open (it does
-- not answer), spent (the day's tokens are used up), shut (an operator has to act; code and message say what to do).
--
-- Here and in `gate_release` leases are found by plain index scans: only these mark the entries of ended leases as dead, which
-- the next one then skips. By bitmap scans a pair of questions took 1.2 ms after a vacuum and 4.1 ms just before the next one, 28,000
-- leases later; so it takes 1 ms always.
CREATE FUNCTION helix.gate_acquire(
    p_key bytea, p_class text, p_tokens integer, p_ttl double precision, p_max_wait double precision, p_scope text,
    p_holder bigint,
    OUT verdict text, OUT wait double precision, OUT lease uuid, OUT is_probe boolean, OUT code text, OUT message text
) LANGUAGE plpgsql SET enable_bitmapscan = off AS $$
DECLARE
    second constant interval := interval '1 second';
    burst constant double precision := 0.5;
    poll constant double precision := 0.05;
    reserve_share constant double precision := 0.05;
    reserve_memory interval;
    g helix.gate;
    l record;
    slot record;
    own_slot record;
    t timestamptz;
    settled boolean;
    is_interactive constant boolean := p_class = 'interactive';
    is_searched boolean;
    reserved_requests double precision;
    reserved_tokens double precision;
    own_requests double precision;
    own_tokens double precision;
    own_burst double precision;
    live integer;
    charged integer;
    earliest timestamptz;
    takes_own boolean := false;
BEGIN
    SELECT * INTO g FROM helix.gate WHERE key_hash = p_key FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no gate for this key' USING ERRCODE = 'no_data_found';
    END IF;
    t := helix.gate_clock();
    SELECT * INTO l FROM helix.gate_limits(g);
    is_probe := false;

    -- Others get the searches' share back when no window has both in it.
    reserve_memory := greatest(interval '10 minutes', 2 * g.period_seconds * second);
    IF is_interactive THEN
        IF g.interactive_at IS NULL OR g.interactive_at < t - reserve_memory THEN
            -- What was granted before keeps its time, which may be far ahead.
            g.interactive_since := greatest(t, g.requests_tat, g.tokens_tat);
        END IF;
        g.interactive_at := t;
        UPDATE helix.gate SET interactive_at = g.interactive_at, interactive_since = g.interactive_since WHERE key_hash = p_key;
    END IF;
    is_searched := coalesce(g.interactive_at > t - reserve_memory, false);

    IF g.shut_code IS NOT NULL AND g.shut_scope IS NOT DISTINCT FROM p_scope THEN
        verdict := 'shut'; code := g.shut_code; message := g.message;
        RETURN;
    END IF;

    DELETE FROM helix.gate_lease e WHERE e.key_hash = p_key AND e.expires_at <= t;
    SELECT count(*) INTO live FROM helix.gate_lease e WHERE e.key_hash = p_key;

    IF g.breaker <> 'closed' THEN
        IF EXISTS (SELECT FROM helix.gate_lease e WHERE e.key_hash = p_key AND e.is_probe
                                                        AND e.breaker_generation = g.breaker_generation) THEN
            verdict := 'open'; wait := poll;
            PERFORM helix.gate_bury(p_key, t);
        ELSIF g.breaker = 'open' AND t < g.retry_at THEN
            verdict := 'open'; wait := extract(epoch FROM g.retry_at - t);
        END IF;
        IF verdict IS NOT NULL THEN
            code := 'SERVICE_DOWN'; message := g.message;
            RETURN;
        END IF;
        is_probe := true;
    END IF;

    IF g.blocked_until > t THEN
        verdict := 'blocked'; wait := extract(epoch FROM g.blocked_until - t);
        RETURN;
    END IF;

    -- While people search, one place is theirs.
    IF live >= l.concurrency - (is_searched AND NOT is_interactive AND l.concurrency > 1)::integer THEN
        verdict := 'busy'; wait := poll / 2;
        PERFORM helix.gate_bury(p_key, t);
        RETURN;
    END IF;

    IF g.day IS DISTINCT FROM (t AT TIME ZONE 'UTC')::date THEN
        g.day := (t AT TIME ZONE 'UTC')::date;
        g.day_tokens := 0;
    END IF;
    charged := greatest(1, ceil(p_tokens * g.token_ratio))::integer;
    IF g.day_tokens + charged > g.tokens_per_day THEN
        verdict := 'spent'; wait := extract(epoch FROM ((g.day + 1)::timestamp AT TIME ZONE 'UTC') - t);
        RETURN;
    END IF;

    -- One request a window and 1/400 of the tokens are always kept for searches, and a twentieth of both while people search. They
    -- may use that twentieth once all others have kept out of it for a whole period.
    reserved_requests := CASE WHEN l.requests < 2 THEN 0
                              ELSE greatest(1, CASE WHEN is_searched THEN floor(reserve_share * l.requests) END) END;
    reserved_tokens := l.tokens * CASE WHEN is_searched THEN reserve_share ELSE reserve_share / 20 END;
    IF g.largest_at < t - 2 * g.period_seconds * second THEN
        g.largest_tokens := least(g.largest_tokens, charged);
    END IF;
    -- A crash of the server may forget the last second of grants, as gates do not wait for its disk. After a block there is no
    -- credit: the service has room for what its window lets go, not for a burst of what had to wait.
    earliest := greatest(pg_postmaster_start_time() + second, g.blocked_until + burst * second);
    slot := helix.gate_slot(
        t, g.period_seconds, burst,
        l.requests - reserved_requests, greatest(g.requests_tat, earliest),
        l.tokens - reserved_tokens, greatest(g.tokens_tat, earliest),
        charged, g.largest_tokens);
    IF is_interactive AND slot.start > t THEN
        settled := g.interactive_since < t - (g.period_seconds + 1) * second;
        own_requests := CASE WHEN settled THEN reserved_requests ELSE least(reserved_requests, 1) END;
        own_tokens := CASE WHEN settled THEN reserved_tokens ELSE reserved_tokens / 20 END;
        own_burst := CASE WHEN own_requests > 1 THEN g.period_seconds / 2 ELSE 0 END;
        -- Half of its tokens for the rate, half for the request at a window's edge.
        IF coalesce(own_requests >= 1, true) AND coalesce(charged <= own_tokens / 2, true) THEN
            own_slot := helix.gate_slot(t, g.period_seconds, own_burst, own_requests, g.reserve_requests_tat,
                                        own_tokens, g.reserve_tokens_tat, charged, (own_tokens / 2)::integer);
            takes_own := own_slot.start < slot.start;
            IF takes_own THEN
                slot := own_slot;
            END IF;
        END IF;
    END IF;

    wait := extract(epoch FROM slot.start - t);
    IF wait > p_max_wait THEN
        verdict := 'late';
        RETURN;
    END IF;

    verdict := 'granted';
    lease := gen_random_uuid();
    INSERT INTO helix.gate_lease
        (id, key_hash, class, holder, breaker_generation, starts_at, expires_at, is_probe, estimated_tokens, charged_tokens)
    VALUES (lease, p_key, p_class, p_holder, g.breaker_generation, slot.start, slot.start + p_ttl * second, is_probe, p_tokens, charged);
    UPDATE helix.gate
    SET requests_tat = CASE WHEN takes_own THEN requests_tat ELSE slot.next_requests_tat END,
        tokens_tat = CASE WHEN takes_own THEN tokens_tat ELSE slot.next_tokens_tat END,
        reserve_requests_tat = CASE WHEN takes_own THEN slot.next_requests_tat ELSE reserve_requests_tat END,
        reserve_tokens_tat = CASE WHEN takes_own THEN slot.next_tokens_tat ELSE reserve_tokens_tat END,
        largest_tokens = CASE WHEN takes_own THEN largest_tokens ELSE greatest(g.largest_tokens, charged) END,
        largest_at = CASE WHEN takes_own OR charged < g.largest_tokens THEN largest_at ELSE slot.start END,
        breaker = CASE WHEN gate_acquire.is_probe THEN 'half_open' ELSE breaker END,
        day = g.day,
        day_tokens = g.day_tokens + charged
    WHERE key_hash = p_key;
END $$;

-- Whether a grant still holds after its wait: the lease lives, the breaker is as it was, nobody has blocked the gate or shut it
-- for what is asked.
CREATE FUNCTION helix.gate_check(p_key bytea, p_lease uuid, p_scope text) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM helix.gate_lease l JOIN helix.gate g USING (key_hash)
        WHERE l.id = p_lease AND g.key_hash = p_key AND l.expires_at > helix.gate_clock()
          AND l.breaker_generation = g.breaker_generation
          AND (g.shut_code IS NULL OR g.shut_scope IS DISTINCT FROM p_scope)
          AND coalesce(g.blocked_until <= helix.gate_clock(), true))
$$;

-- Give a lease back and say how the request went: success (any answer that shows a working service), limited, transient, global,
-- or abandoned (not sent, or given up by the caller). Tokens are what the service reported, NULL where it did not. Limits and
-- what remains of them are the service's headers.
CREATE FUNCTION helix.gate_release(
    p_key bytea, p_lease uuid, p_outcome text, p_tokens integer, p_wait double precision,
    p_limit_requests double precision, p_remaining_requests double precision,
    p_limit_tokens double precision, p_remaining_tokens double precision,
    p_code text, p_message text, p_scope text
) RETURNS void LANGUAGE plpgsql SET enable_bitmapscan = off AS $$
DECLARE
    second constant interval := interval '1 second';
    jitter constant interval := interval '0.3 seconds';
    first_probe_wait constant double precision := 0.5;
    g helix.gate;
    held helix.gate_lease;
    t timestamptz;
    under_way integer;
    speaks boolean;
    limit_tokens double precision;
    refund double precision;
    weight double precision;
BEGIN
    SELECT * INTO g FROM helix.gate WHERE key_hash = p_key FOR UPDATE;
    t := helix.gate_clock();
    DELETE FROM helix.gate_lease WHERE id = p_lease RETURNING * INTO held;
    -- An outcome from before the breaker last turned says nothing about now.
    speaks := coalesce(held.breaker_generation = g.breaker_generation, false);

    IF p_limit_requests > 0 THEN g.told_requests := p_limit_requests; END IF;
    IF p_limit_tokens > 0 THEN g.told_tokens := p_limit_tokens; END IF;

    -- The account is corrected by what the service counted. What comes back is bounded, as it moves capacity to a later window.
    IF p_tokens IS NOT NULL AND held.id IS NOT NULL THEN
        refund := least(held.charged_tokens - p_tokens, held.charged_tokens * 0.25);
        limit_tokens := (SELECT tokens FROM helix.gate_limits(g));
        g.tokens_tat := g.tokens_tat - refund * second * (g.period_seconds + 0.8)
            / (limit_tokens - CASE WHEN refund < 0 THEN least(g.largest_tokens, limit_tokens * 0.8) ELSE 0 END);
        -- A search of three words says little about batches of hundreds of texts.
        weight := 0.2 * least(1, held.charged_tokens / greatest(g.largest_tokens, 1)::double precision);
        g.token_ratio := least(8, greatest(0.125,
            (1 - weight) * g.token_ratio + weight * p_tokens / greatest(held.estimated_tokens, 1)));
    END IF;
    IF (held.starts_at AT TIME ZONE 'UTC')::date = g.day AND (p_tokens IS NOT NULL OR p_outcome IN ('abandoned', 'limited')) THEN
        g.day_tokens := greatest(0, g.day_tokens - held.charged_tokens + coalesce(p_tokens, 0));
    END IF;

    -- Less remains than we know to be on its way: somebody else uses the key.
    IF p_outcome = 'success' THEN
        SELECT count(*) INTO under_way FROM helix.gate_lease e
        WHERE e.key_hash = p_key AND e.starts_at BETWEEN t - jitter AND t;
        IF p_remaining_requests <= under_way AND p_limit_requests > 0 THEN
            g.blocked_until := greatest(g.blocked_until,
                t + (under_way + 1 - p_remaining_requests) * g.period_seconds / p_limit_requests * second);
        END IF;
        IF p_remaining_tokens < held.charged_tokens AND p_limit_tokens > 0 THEN
            g.blocked_until := greatest(g.blocked_until,
                t + (held.charged_tokens - p_remaining_tokens) * g.period_seconds / p_limit_tokens * second);
        END IF;
    ELSIF p_outcome = 'limited' THEN
        g.blocked_until := greatest(g.blocked_until, t + coalesce(p_wait, 1) * second);
    ELSIF p_outcome = 'global' AND speaks THEN
        g.shut_code := p_code; g.message := p_message; g.shut_scope := p_scope; g.shut_at := t;
    END IF;

    IF p_outcome IN ('success', 'limited', 'global') THEN
        IF held.is_probe AND speaks THEN
            g.breaker := 'closed'; g.breaker_generation := g.breaker_generation + 1;
            g.failures := 0; g.failed_at := NULL; g.probe_wait := 0; g.opened_at := NULL; g.retry_at := NULL;
            IF g.shut_code IS NULL THEN g.message := NULL; END IF;
        ELSIF speaks AND p_outcome = 'success' AND coalesce(held.starts_at > g.failed_at, true) THEN
            g.failures := 0;
        END IF;
    ELSIF p_outcome = 'transient' AND speaks THEN
        g.failures := g.failures + 1; g.failed_at := t;
        IF held.is_probe OR g.failures >= g.failure_threshold THEN
            g.probe_wait := least(g.probe_cap_seconds, CASE WHEN held.is_probe THEN 2 * g.probe_wait ELSE first_probe_wait END);
            g.breaker := 'open'; g.breaker_generation := g.breaker_generation + 1;
            g.retry_at := t + g.probe_wait * second; g.opened_at := coalesce(g.opened_at, t);
            IF g.shut_code IS NULL THEN g.message := p_message; END IF;
        END IF;
    ELSIF p_outcome = 'abandoned' AND held.is_probe AND speaks THEN
        g.breaker := 'open'; g.retry_at := t;
    END IF;

    UPDATE helix.gate
    SET told_requests = g.told_requests, told_tokens = g.told_tokens, tokens_tat = g.tokens_tat, day_tokens = g.day_tokens,
        token_ratio = g.token_ratio, blocked_until = g.blocked_until, breaker = g.breaker,
        breaker_generation = g.breaker_generation, failures = g.failures, failed_at = g.failed_at, probe_wait = g.probe_wait,
        opened_at = g.opened_at, retry_at = g.retry_at
    WHERE key_hash = p_key;
    -- Apart, as these are audited.
    UPDATE helix.gate
    SET shut_code = g.shut_code, shut_scope = g.shut_scope, shut_at = g.shut_at, message = g.message
    WHERE key_hash = p_key AND (shut_code, shut_scope, message) IS DISTINCT FROM (g.shut_code, g.shut_scope, g.message);
END $$;

-- Batches that wait for a service know until when, and at which gate.
ALTER TABLE helix.import_batch
    ADD COLUMN retry_at TIMESTAMP WITH TIME ZONE,
    ADD COLUMN gate_key BYTEA;

ALTER TABLE helix.phase_run DROP CONSTRAINT ck_phase_run_state;
ALTER TABLE helix.phase_run
    ADD CONSTRAINT ck_phase_run_state CHECK (state IN ('running', 'done', 'failed', 'deferred'));
