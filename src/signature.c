/*-------------------------------------------------------------------------
 *
 * signature.c
 *	  Check that a webhook was signed with the secret of our app.
 *
 * Meta signs the body of a request with HMAC-SHA256 and sends the digest
 * along, in lower-case hexadecimal, in the header
 *
 *		X-Hub-Signature-256: sha256=<64 digits>
 *
 * It is the bytes that are signed, not the document they spell.  The body
 * must get here as it came over the wire; once it has been through jsonb and
 * back, its meaning is the same but its digest is another.
 *
 * How long a comparison takes must not tell how much of a guess is right.
 *
 * IDENTIFICATION
 *	  src/signature.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hmac.h"
#include "common/sha2.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "whatsapp.h"

#define SIGNATURE_PREFIX		"sha256="
#define SIGNATURE_PREFIX_LEN	(sizeof(SIGNATURE_PREFIX) - 1)
#define SIGNATURE_LEN			(SIGNATURE_PREFIX_LEN + 2 * PG_SHA256_DIGEST_LENGTH)

static void write_signature(const char *body, size_t len, const char *secret,
							char *signature);
static void compute_digest(const char *data, size_t len, const char *key,
						   size_t key_len, uint8 *digest);

PG_FUNCTION_INFO_V1(whatsapp_sign);

/*
 * whatsapp.sign(body bytea, secret text) returns text
 */
Datum
whatsapp_sign(PG_FUNCTION_ARGS)
{
	bytea	   *body = PG_GETARG_BYTEA_PP(0);
	char	   *secret = text_to_cstring(PG_GETARG_TEXT_PP(1));
	char		signature[SIGNATURE_LEN];

	write_signature(VARDATA_ANY(body), VARSIZE_ANY_EXHDR(body), secret,
					signature);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(signature, SIGNATURE_LEN));
}

/*
 * Does the signature belong to the body?
 *
 * A signature that is absent or malformed is one that does not match, and
 * not an error: whoever sent it is to learn no more than that.
 */
bool
wa_signature_matches(const char *body, size_t len, const char *signature,
					 const char *secret)
{
	char		expected[SIGNATURE_LEN];

	if (signature == NULL || strlen(signature) != SIGNATURE_LEN)
		return false;

	write_signature(body, len, secret, expected);
	return timingsafe_bcmp(signature, expected, SIGNATURE_LEN) == 0;
}

/*
 * Are two secrets the same?  Their digests are compared, which have one
 * length whatever the secrets have.
 */
bool
wa_same_secret(const char *a, size_t a_len, const char *b, size_t b_len)
{
	uint8		a_digest[PG_SHA256_DIGEST_LENGTH];
	uint8		b_digest[PG_SHA256_DIGEST_LENGTH];

	compute_digest(a, a_len, "", 0, a_digest);
	compute_digest(b, b_len, "", 0, b_digest);
	return timingsafe_bcmp(a_digest, b_digest, sizeof(a_digest)) == 0;
}

/*
 * Write the signature that the body should have come with.
 */
static void
write_signature(const char *body, size_t len, const char *secret,
				char *signature)
{
	uint8		digest[PG_SHA256_DIGEST_LENGTH];

	compute_digest(body, len, secret, strlen(secret), digest);
	memcpy(signature, SIGNATURE_PREFIX, SIGNATURE_PREFIX_LEN);
	hex_encode((const char *) digest, sizeof(digest),
			   signature + SIGNATURE_PREFIX_LEN);
}

/*
 * Compute the HMAC-SHA256 of some data.
 */
static void
compute_digest(const char *data, size_t len, const char *key, size_t key_len,
			   uint8 *digest)
{
	pg_hmac_ctx *ctx = pg_hmac_create(PG_SHA256);

	if (ctx == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));

	if (pg_hmac_init(ctx, (const uint8 *) key, key_len) < 0 ||
		pg_hmac_update(ctx, (const uint8 *) data, len) < 0 ||
		pg_hmac_final(ctx, digest, PG_SHA256_DIGEST_LENGTH) < 0)
	{
		const char *reason = pstrdup(pg_hmac_error(ctx));

		pg_hmac_free(ctx);
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute webhook signature: %s", reason)));
	}
	pg_hmac_free(ctx);
}
