-- What it costs to compare a wrong signature and a wrong verify token, by how many
-- of its characters are right: the same, or one could be guessed bit by bit.
--
--	psql -X -f bench/constant_time.sql
--
-- In a database without the extension.  Medians of 41 rounds, interleaved.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION whatsapp;
SELECT whatsapp.set_app_secret(md5(n::text)), whatsapp.set_verify_token(md5(n::text)) FROM generate_series(1, 3) n \g /dev/null

CREATE FUNCTION pg_temp.measure(calls integer) RETURNS TABLE (what text, right_characters integer, us numeric)
LANGUAGE plpgsql AS $$
DECLARE
	body bytea := '{}';
	good text := whatsapp.sign(body, md5('2'));
	begun timestamptz;
	told text;
BEGIN
	FOR round IN 1..41 LOOP
		FOREACH right_characters IN ARRAY ARRAY[0, 1, 16, 32, 48, 63] LOOP
			what := 'signature';
			-- what is wrong is wrong from there on
			told := 'sha256=' || left(substr(good, 8), right_characters)
				|| translate(substr(good, 8 + right_characters), '0123456789abcdef', '123456789abcdef0');
			begun := clock_timestamp();
			FOR i IN 1..calls LOOP
				PERFORM whatsapp.handle_webhook('POST', NULL, told, body);
			END LOOP;
			us := extract(epoch FROM clock_timestamp() - begun) * 1e6 / calls;
			RETURN NEXT;
		END LOOP;
		FOREACH right_characters IN ARRAY ARRAY[0, 1, 8, 16, 24, 31] LOOP
			what := 'verify token';
			told := left(md5('2'), right_characters)
				|| translate(substr(md5('2'), 1 + right_characters), '0123456789abcdef', '123456789abcdef0');
			begun := clock_timestamp();
			FOR i IN 1..calls LOOP
				PERFORM whatsapp.verify_webhook('subscribe', told, 'x');
			END LOOP;
			us := extract(epoch FROM clock_timestamp() - begun) * 1e6 / calls;
			RETURN NEXT;
		END LOOP;
	END LOOP;
END $$;

SELECT what, right_characters, round((percentile_cont(0.5) WITHIN GROUP (ORDER BY us))::numeric, 2) AS us
FROM pg_temp.measure(200)
GROUP BY what, right_characters
ORDER BY what, right_characters;
DROP EXTENSION whatsapp CASCADE;
