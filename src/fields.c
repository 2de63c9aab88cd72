/*-------------------------------------------------------------------------
 *
 * fields.c
 *	  What is in webhooks, and in which tables it goes.
 *
 * There is nothing here but tables of paths, with what SQL makes of the values
 * found there, and a function that lists them; shred.c and store.c do as they
 * say.  To record one more field, add its column here and to the install
 * script.  A field that stands in several places is listed with each, the
 * place to be preferred first.
 *
 * Facts are from Meta's reference of webhook fields, 2025 and 2026, and from
 * what it has sent otherwise.
 *
 * IDENTIFICATION
 *	  src/fields.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "whatsapp.h"

#define CHANGE	"/entry.changes."
#define VALUE	"/entry.changes.value."

/* A number that is not told is the empty string: it is part of keys */
#define NUMBER_COLUMN \
	{"phone_number_id", VALUE "metadata.phone_number_id", WA_TEXT}, \
	{"phone_number_id", "=", WA_TEXT}

/* The value of a list of columns, and how many they are */
#define COLUMNS(list) \
	.ncolumns = lengthof(list), \
	.columns = list

/*
 * People
 *
 * What names somebody, wherever it stands, makes a row that is not stored:
 * people.c tells who that is, and makes rows of correspondents and of
 * contact_sightings of it.  It goes by the names of the columns.
 */

/* The time of a webhook is that of the latest thing it tells */
#define WEBHOOK_TIME_COLUMN(name) \
	{name, VALUE "messages.timestamp", WA_TIME}, \
	{name, VALUE "statuses.timestamp", WA_TIME}, \
	{name, VALUE "message_echoes.timestamp", WA_TIME}, \
	{name, VALUE "calls.timestamp", WA_TIME}, \
	{name, VALUE "user_preferences.timestamp", WA_TIME}, \
	{name, VALUE "user_id_update.timestamp", WA_TIME}, \
	{name, VALUE "standby.messages.timestamp", WA_TIME}, \
	{name, VALUE "standby.statuses.timestamp", WA_TIME}, \
	{name, VALUE "standby.message_echoes.timestamp", WA_TIME}, \
	{name, VALUE "history.threads.messages.timestamp", WA_TIME}, \
	{name, "/entry.time", WA_TIME}

/* somebody is named by one of these, at least */
#define SOMEBODY(path) \
	{"somebody", path, WA_TEXT, true}

static const WaColumn sighting_columns[] =
{
	NUMBER_COLUMN,
	SOMEBODY("wa_id"),
	SOMEBODY("user_id"),
	SOMEBODY("from"),
	SOMEBODY("from_user_id"),
	SOMEBODY("to"),
	SOMEBODY("to_user_id"),
	SOMEBODY("recipient_id"),
	SOMEBODY("recipient_user_id"),
	SOMEBODY("message.to"),
	SOMEBODY("message.recipient"),
	SOMEBODY("message.recipient_id"),
	SOMEBODY("recipient_participant_id"),
	SOMEBODY("recipient_participant_user_id"),
	SOMEBODY("participant_recipient_id"),
	SOMEBODY("system.wa_id"),
	SOMEBODY("system.new_wa_id"),
	SOMEBODY("system.user_id"),
	SOMEBODY("input"),
	SOMEBODY("phone_number"),
	SOMEBODY("user_id.current"),
	{"display", VALUE "metadata.display_phone_number", WA_TEXT},
	{"place", "/entry.changes.value", WA_PLACE},

	/* somebody is told of */
	{"wa_id", "wa_id", WA_TEXT},
	{"wa_id", "phone_number", WA_TEXT},
	{"wa_id", "input", WA_TEXT},
	{"user_id", "user_id", WA_TEXT},
	{"user_id", "user_id.current", WA_TEXT},
	{"parent_user_id", "parent_user_id", WA_TEXT},
	{"parent_user_id", "parent_user_id.current", WA_TEXT},
	{"name", "profile.name", WA_TEXT},
	{"username", "profile.username", WA_TEXT},
	{"username", "username", WA_TEXT},

	/* a message or call has two sides */
	{"sender", "from", WA_TEXT},
	{"sender_user_id", "from_user_id", WA_TEXT},
	{"sender_parent_id", "from_parent_user_id", WA_TEXT},
	{"addressee", "to", WA_TEXT},
	{"addressee", "message.to", WA_TEXT},
	{"addressee_user_id", "to_user_id", WA_TEXT},
	{"addressee_user_id", "message.recipient", WA_TEXT},
	{"addressee_parent_id", "to_parent_user_id", WA_TEXT},
	{"thread_id", VALUE "history.threads.context.wa_id", WA_TEXT},
	{"thread_id", VALUE "history.threads.id", WA_TEXT},
	{"thread_user_id", VALUE "history.threads.context.user_id", WA_TEXT},
	{"thread_parent_id", VALUE "history.threads.context.parent_user_id", WA_TEXT},
	{"type", "type", WA_TEXT},
	{"type", "message.type", WA_TEXT},
	{"direction", "direction", WA_TEXT},
	{"call", "event", WA_TEXT},
	{"ad", "referral.source_type", WA_TEXT},
	{"ad", "referral.source_id", WA_TEXT},
	{"ad", "referral.source_url", WA_TEXT},
	{"ad", "referral.ctwa_clid", WA_TEXT},

	/* a status has one, and perhaps a member of a group */
	{"recipient", "recipient_id", WA_TEXT},
	{"recipient", "message.recipient_id", WA_TEXT},
	{"recipient_user_id", "recipient_user_id", WA_TEXT},
	{"recipient_parent_id", "recipient_parent_user_id", WA_TEXT},
	{"recipient_parent_id", "parent_recipient_user_id", WA_TEXT},
	{"recipient_type", "recipient_type", WA_TEXT},
	{"recipient_type", "message.recipient_type", WA_TEXT},
	{"member", "recipient_participant_id", WA_TEXT},
	{"member", "participant_recipient_id", WA_TEXT},
	{"member_user_id", "recipient_participant_user_id", WA_TEXT},
	{"member_parent_id", "recipient_participant_parent_user_id", WA_TEXT},
	{"group_id", "group_id", WA_TEXT},
	{"group_id", "message.group_id", WA_TEXT},
	{"origin", "conversation.origin.type", WA_TEXT},
	{"expiration", "conversation.expiration_timestamp", WA_TIME},

	/* somebody has other ids than before */
	{"change", "system.type", WA_TEXT},
	{"new_wa_id", "system.wa_id", WA_TEXT},
	{"new_wa_id", "system.new_wa_id", WA_TEXT},
	{"new_user_id", "system.user_id", WA_TEXT},
	{"new_parent_id", "system.parent_user_id", WA_TEXT},
	{"old_user_id", "system.previous_user_id", WA_TEXT},
	{"old_user_id", "user_id.previous", WA_TEXT},
	{"old_parent_id", "system.previous_parent_user_id", WA_TEXT},
	{"old_parent_id", "parent_user_id.previous", WA_TEXT},

	{"at", "timestamp", WA_TIME},
	{"at", VALUE "state_sync.metadata.timestamp", WA_TIME},
	{"at", VALUE "groups.timestamp", WA_TIME},
	WEBHOOK_TIME_COLUMN("webhook_at"),
};

/* what people.c makes of these; an identifier that was told is as new as this */
#define TOLD(column) \
	{column, "", WA_TEXT,.newest_by = column "_at"}, \
	{column "_at", "", WA_TIME}

static const WaColumn correspondent_columns[] =
{
	{"phone_number_id", "", WA_TEXT},
	{"contact_key", "", WA_TEXT},
	{"kind", "", WA_TEXT},
	TOLD("wa_id"),
	TOLD("parent_user_id"),
	TOLD("name"),
	TOLD("username"),
	{"first_seen", "", WA_FIRST_TIME},
	{"last_seen", "", WA_TIME},
	{"last_message_at", "", WA_TIME},
	{"last_inbound_at", "", WA_TIME},
	{"last_outbound_at", "", WA_TIME},
	{"last_referral_at", "", WA_TIME},
	{"free_entry_until", "", WA_TIME},

	/* should it be set aside: it is as new as what was beside it */
	{"beside_at", "/entry.time", WA_TIME,.unstored = true},
};

static const WaColumn contact_sighting_columns[] =
{
	{"phone_number_id", "", WA_TEXT},
	{"contact_key", "", WA_TEXT},
	{"kind", "", WA_TEXT},
	{"value", "", WA_TEXT},
	{"first_seen", "", WA_FIRST_TIME},
	{"last_seen", "", WA_TIME},
};

#define IS_NEWS(column) \
	"whatsapp.is_newer(excluded." column ", excluded." column "_at," \
	" t." column ", t." column "_at)"

#define NEWEST_TOLD(column) \
	column " = CASE WHEN " IS_NEWS(column) " THEN excluded." column \
	" ELSE t." column " END," \
	" " column "_at = CASE WHEN " IS_NEWS(column) " THEN excluded." column "_at" \
	" ELSE t." column "_at END"

#define LATEST(column) \
	column " = greatest(t." column ", excluded." column ")"

#define EARLIEST(column) \
	column " = least(t." column ", excluded." column ")"

#define IS_LATER(column) \
	"greatest(t." column ", excluded." column ") IS DISTINCT FROM t." column

#define IS_EARLIER(column) \
	"least(t." column ", excluded." column ") IS DISTINCT FROM t." column

/* what a webhook says of a contact, should something else be told later */
static const WaColumn contact_element_columns[] =
{
	NUMBER_COLUMN,
	{"contact_key", "user_id", WA_TEXT, true,.unstored = true},
	{"contact_key", "wa_id", WA_TEXT, true,.unstored = true},
	{"field", "=contacts", WA_TEXT},
	{"event", "=seen", WA_TEXT},
	{"element", "", WA_JSON},
};

/*
 * Who somebody was before, and is now.  That a phone number is another one is
 * told as such; of another BSUID, the number beside it may be either.
 */
static const WaComputed change_computed[] =
{
	{"old_wa_id", "coalesce(CASE WHEN r.word OPERATOR(pg_catalog.<>)"
	" 'user_changed_user_id' THEN pg_catalog.ltrim(r.sender, '+') END, '')"},
	{"old_user_id", "coalesce(r.previous, CASE WHEN r.sender_user_id"
	" OPERATOR(pg_catalog.<>) r.current THEN r.sender_user_id END, '')"},
	{"new_wa_id", "coalesce(CASE WHEN r.word OPERATOR(pg_catalog.<>)"
	" 'user_changed_user_id' THEN pg_catalog.ltrim(r.new_phone, '+') END, '')"},
	{"new_user_id", "coalesce(r.current, '')"},
	{"at", "coalesce(r.told_at, '-infinity')"},
	{NULL}
};

static const WaColumn system_change_columns[] =
{
	NUMBER_COLUMN,
	{"word", "system.type", WA_TEXT, true,.unstored = true},
	{"sender", "from", WA_TEXT,.unstored = true},
	{"sender_user_id", "from_user_id", WA_TEXT,.unstored = true},
	{"previous", "system.previous_user_id", WA_TEXT,.unstored = true},
	{"current", "system.user_id", WA_TEXT,.unstored = true},
	{"new_phone", "system.wa_id", WA_TEXT,.unstored = true},
	{"new_phone", "system.new_wa_id", WA_TEXT,.unstored = true},
	{"told_at", "timestamp", WA_TIME,.unstored = true},
};

static const WaColumn user_id_change_columns[] =
{
	NUMBER_COLUMN,
	{"word", "=user_changed_user_id", WA_TEXT,.unstored = true},
	{"sender", "wa_id", WA_TEXT,.unstored = true},
	{"sender_user_id", "user_id.previous", WA_TEXT,.unstored = true},
	{"previous", "user_id.previous", WA_TEXT, true,.unstored = true},
	{"current", "user_id.current", WA_TEXT, true,.unstored = true},
	{"new_phone", "new_wa_id", WA_TEXT,.unstored = true},
	{"told_at", "timestamp", WA_TIME,.unstored = true},
};

/* somebody must be told before and after, and not to be the same */
#define IS_CHANGE \
	"r.word OPERATOR(pg_catalog.=) ANY (ARRAY['user_changed_number'," \
	" 'user_changed_user_id', 'customer_changed_number'])" \
	" AND coalesce(r.current, CASE WHEN r.word OPERATOR(pg_catalog.<>)" \
	" 'user_changed_user_id' THEN r.new_phone END) IS NOT NULL" \
	" AND CASE WHEN r.previous IS NOT NULL AND r.current IS NOT NULL" \
	" THEN r.previous OPERATOR(pg_catalog.<>) r.current" \
	" ELSE coalesce(r.previous, CASE WHEN r.word OPERATOR(pg_catalog.<>)" \
	" 'user_changed_user_id' THEN pg_catalog.ltrim(r.sender, '+') END," \
	" CASE WHEN r.sender_user_id OPERATOR(pg_catalog.<>) r.current" \
	" THEN r.sender_user_id END) IS NOT NULL" \
	" AND pg_catalog.ltrim(r.sender, '+') IS DISTINCT FROM pg_catalog.ltrim(r.new_phone, '+') END"

#define CHANGE_TABLE \
	.name = "contact_changes", \
	.filing = WA_MAY, \
	.computed = change_computed, \
	.where = IS_CHANGE, \
	.key = "phone_number_id, old_wa_id, old_user_id, new_wa_id, new_user_id, at", \
	.best_first = "r.told_at", \
	.on_conflict = "DO NOTHING"

static const char *const system_types[] = {"system", NULL};

/*
 * Messages
 *
 * Whatever way a message comes, it sets the same columns, as another way may
 * bring it again.
 */
#define MEDIA(name, in, key, ...) \
	{name, in "image." key, __VA_ARGS__}, \
	{name, in "video." key, __VA_ARGS__}, \
	{name, in "audio." key, __VA_ARGS__}, \
	{name, in "document." key, __VA_ARGS__}, \
	{name, in "sticker." key, __VA_ARGS__}, \
	{name, in "voice." key, __VA_ARGS__}

/* what the sender says, in words */
#define BODY(in) \
	{"body", in "text.body", WA_TEXT}, \
	{"body", in "text", WA_TEXT}, \
	MEDIA("body", in, "caption", WA_TEXT), \
	{"body", in "document.filename", WA_TEXT}, \
	{"body", in "button.text", WA_TEXT}, \
	{"body", in "interactive.button_reply.title", WA_TEXT}, \
	{"body", in "interactive.list_reply.title", WA_TEXT}, \
	{"body", in "interactive.nfm_reply.body", WA_TEXT}, \
	{"body", in "interactive.body.text", WA_TEXT}, \
	{"body", in "reaction.emoji", WA_TEXT}, \
	{"body", in "location.name", WA_TEXT}, \
	{"body", in "location.address", WA_TEXT}, \
	{"body", in "contacts.name.formatted_name", WA_TEXT}, \
	{"body", in "order.text", WA_TEXT}, \
	{"body", in "system.body", WA_TEXT}

#define MESSAGE_COLUMNS(in) \
	NUMBER_COLUMN, \
	{"message_id", "id", WA_TEXT, true}, \
	{"type", in "type", WA_TEXT}, \
	BODY(in), \
	BODY(in "edit.message."), \
	{"group_id", in "group_id", WA_TEXT}, \
	{"context_id", in "context.id", WA_TEXT}, \
	{"context_id", in "context.message_id", WA_TEXT}, \
	{"forwarded", in "context.forwarded", WA_BOOL}, \
	{"forwarded", in "context.frequently_forwarded", WA_BOOL}, \
	{"target_id", in "reaction.message_id", WA_TEXT}, \
	{"target_id", in "edit.original_message_id", WA_TEXT}, \
	{"target_id", in "revoke.original_message_id", WA_TEXT}, \
	{"reply_id", in "interactive.button_reply.id", WA_TEXT}, \
	{"reply_id", in "interactive.list_reply.id", WA_TEXT}, \
	{"payload", in "button.payload", WA_TEXT}, \
	{"response", in "interactive.nfm_reply.response_json", WA_EMBEDDED}, \
	{"response", in "interactive.call_permission_reply", WA_JSON}, \
	{"response", in "interactive.payment_method", WA_JSON}, \
	{"referral", in "referral", WA_JSON}, \
	{"ctwa_clid", in "referral.ctwa_clid", WA_TEXT}, \
	MEDIA("media_id", in, "id", WA_TEXT), \
	MEDIA("media_id", in "edit.message.", "id", WA_TEXT), \
	{"error_code", "errors.code", WA_INT}, \
	{"sent_at", "timestamp", WA_TIME}, \
	{"element", "", WA_JSON}

static const WaColumn message_columns[] =
{
	MESSAGE_COLUMNS(""),
	{"direction", "=inbound", WA_TEXT},
	{"wa_id", "from", WA_TEXT},
	{"user_id", "from_user_id", WA_TEXT},
	{"parent_user_id", "from_parent_user_id", WA_TEXT},
};

/* what was sent from the number by other means than the API */
static const WaColumn echo_columns[] =
{
	MESSAGE_COLUMNS(""),
	{"direction", "=outbound", WA_TEXT},
	{"wa_id", "to", WA_TEXT},
	{"user_id", "to_user_id", WA_TEXT},
	{"parent_user_id", "to_parent_user_id", WA_TEXT},
};

/* what another application has sent, as it was sent; or as other echoes are */
static const WaColumn standby_echo_columns[] =
{
	MESSAGE_COLUMNS("message."),
	MESSAGE_COLUMNS(""),
	{"direction", "=outbound", WA_TEXT},
	{"addressee", "message.to", WA_TEXT,.unstored = true},
	{"addressee", "to", WA_TEXT,.unstored = true},
	{"told_type", "message.recipient_type", WA_TEXT,.unstored = true},
	{"user_id", "message.recipient", WA_TEXT},
	{"user_id", "to_user_id", WA_TEXT},
	{"parent_user_id", "to_parent_user_id", WA_TEXT},
};

static const WaComputed standby_echo_computed[] =
{
	{"wa_id", "CASE WHEN r.told_type IS DISTINCT FROM 'group'"
	" THEN pg_catalog.ltrim(r.addressee, '+') END"},
	{NULL}
};

/* in a history, the message tells which side has sent it */
#define SIDE_COLUMNS \
	{"sender", "from", WA_TEXT,.unstored = true}, \
	{"sender_user_id", "from_user_id", WA_TEXT,.unstored = true}, \
	{"sender_parent_id", "from_parent_user_id", WA_TEXT,.unstored = true}, \
	{"addressee", "to", WA_TEXT,.unstored = true}, \
	{"addressee_user_id", "to_user_id", WA_TEXT,.unstored = true}, \
	{"addressee_parent_id", "to_parent_user_id", WA_TEXT,.unstored = true}, \
	{"display", VALUE "metadata.display_phone_number", WA_TEXT, \
	.unstored = true}

#define THREAD_COLUMNS \
	{"thread_id", VALUE "history.threads.context.wa_id", WA_TEXT, \
	.unstored = true}, \
	{"thread_id", VALUE "history.threads.id", WA_TEXT,.unstored = true}, \
	{"thread_user_id", VALUE "history.threads.context.user_id", WA_TEXT, \
	.unstored = true}, \
	{"thread_parent_id", VALUE "history.threads.context.parent_user_id", \
	WA_TEXT,.unstored = true}

#define DIGITS(column) \
	"pg_catalog.regexp_replace(r." column ", '[^0-9]', '', 'g')"

#define IS_OUR_NUMBER(column) \
	DIGITS(column) " OPERATOR(pg_catalog.=) " DIGITS("display")

#define IS_OURS \
	"CASE WHEN " IS_OUR_NUMBER("sender") " THEN true" \
	" WHEN " IS_OUR_NUMBER("addressee") " THEN false" \
	" ELSE r.addressee IS NOT NULL OR r.addressee_user_id IS NOT NULL END"

#define OTHER_SIDE(what, thread) \
	"coalesce(CASE WHEN " IS_OURS " THEN r.addressee" what \
	" ELSE r.sender" what " END, r." thread ")"

#define SIDE_COMPUTED \
	{"direction", "CASE WHEN " IS_OURS " THEN 'outbound'" \
	" ELSE 'inbound' END"}, \
	{"wa_id", OTHER_SIDE("", "thread_id")}, \
	{"user_id", OTHER_SIDE("_user_id", "thread_user_id")}, \
	{"parent_user_id", OTHER_SIDE("_parent_id", "thread_parent_id")}

static const WaColumn history_columns[] =
{
	MESSAGE_COLUMNS(""),
	SIDE_COLUMNS,
	THREAD_COLUMNS,
};

static const WaComputed history_computed[] =
{
	SIDE_COMPUTED,
	{NULL}
};

/*
 * Who a message went to is what its element tells, and only as long as there
 * is none what its statuses told: of several the least, as any will do, but it
 * must not be that which came first.
 */
#define TOLD_BY_STATUS(column) \
	"CASE WHEN t.element IS NULL THEN least(t." column ", excluded." column ")" \
	" ELSE t." column " END"

#define TELLS_OTHER(column) \
	"t.element IS NULL AND excluded." column " IS NOT NULL" \
	" AND excluded." column " IS DISTINCT FROM t." column

static const WaComputed message_settled[] =
{
	{"error_code", "CASE WHEN t.status IS NULL"
	" THEN w.error_code ELSE t.error_code END"},
	{NULL}
};

#define MESSAGE_TABLE \
	.name = "messages", \
	.filing = WA_MUST, \
	.key = "phone_number_id, message_id", \
	.best_first = "whatsapp.is_placeholder(r.element)," \
	" r.sent_at DESC NULLS LAST, r.element DESC," \
	" direction, wa_id, user_id, parent_user_id", \
	.keeps_losers = true, \
	.stays = "t.outbox_id IS NOT NULL", \
	.settled = message_settled, \
	.counted_as = WA_COUNT_MESSAGES, \
	.label = "type", \
	.hook = "message", \
	.content_hook = "message_content", \
	.content = "NOT whatsapp.is_placeholder(t.element)"

static const WaColumn reaction_columns[] =
{
	NUMBER_COLUMN,
	{"message_id", "reaction.message_id", WA_TEXT, true},
	{"reactor", "from_user_id", WA_TEXT, true},
	{"reactor", "from", WA_TEXT, true},
	{"wa_id", "from", WA_TEXT},
	{"user_id", "from_user_id", WA_TEXT},
	{"emoji", "reaction.emoji", WA_TEXT},
	{"reaction_id", "id", WA_TEXT, true},
	{"at", "timestamp", WA_TIME},
};

static const WaColumn standby_reaction_columns[] =
{
	NUMBER_COLUMN,
	{"message_id", "message.reaction.message_id", WA_TEXT, true},
	{"message_id", "reaction.message_id", WA_TEXT, true},
	{"reactor", VALUE "metadata.display_phone_number", WA_TEXT, true},
	{"wa_id", VALUE "metadata.display_phone_number", WA_TEXT},
	{"user_id", "message.from_user_id", WA_TEXT},
	{"emoji", "message.reaction.emoji", WA_TEXT},
	{"emoji", "reaction.emoji", WA_TEXT},
	{"reaction_id", "id", WA_TEXT, true},
	{"at", "timestamp", WA_TIME},
};

#define REACTION_ORDER(row) \
	"(coalesce(" row "at, '-infinity'), " row "reaction_id," \
	" coalesce(" row "emoji, ''), coalesce(" row "wa_id, '')," \
	" coalesce(" row "user_id, ''))"

#define REACTION_TABLE \
	.name = "reactions", \
	.filing = WA_MAY, \
	.key = "phone_number_id, message_id, reactor", \
	.best_first = REACTION_ORDER("r.") " DESC", \
	.on_conflict = "DO UPDATE SET" \
	" wa_id = excluded.wa_id, user_id = excluded.user_id," \
	" emoji = excluded.emoji, reaction_id = excluded.reaction_id," \
	" at = excluded.at WHERE " REACTION_ORDER("excluded.") \
	" OPERATOR(pg_catalog.>) " REACTION_ORDER("t."), \
	.hook = "reaction"

/*
 * Media
 */
#define MEDIA_ORDER(row) \
	"(coalesce(" row "at, '-infinity'), coalesce(" row "url, '')," \
	" " row "message_id, coalesce(" row "mime_type, '')," \
	" coalesce(" row "sha256, ''), coalesce(" row "filename, '')," \
	" coalesce(" row "caption, ''), coalesce(" row "voice, false)," \
	" coalesce(" row "animated, false), coalesce(" row "kind, ''))"

#define MEDIA_TABLE \
	.name = "media", \
	.filing = WA_MAY, \
	.key = "phone_number_id, media_id", \
	.best_first = MEDIA_ORDER("r.") " DESC", \
	.on_conflict = "DO UPDATE SET message_id = excluded.message_id," \
	" kind = excluded.kind, mime_type = excluded.mime_type," \
	" sha256 = excluded.sha256, filename = excluded.filename," \
	" caption = excluded.caption, voice = excluded.voice," \
	" animated = excluded.animated, url = excluded.url, at = excluded.at" \
	" WHERE " MEDIA_ORDER("excluded.") \
	" OPERATOR(pg_catalog.>) " MEDIA_ORDER("t."), \
	.hook = "media"

#define MEDIA_COLUMNS(in) \
	MEDIA("media_id", in, "id", WA_TEXT, true), \
	MEDIA("mime_type", in, "mime_type", WA_TEXT), \
	MEDIA("sha256", in, "sha256", WA_TEXT), \
	MEDIA("filename", in, "filename", WA_TEXT), \
	MEDIA("caption", in, "caption", WA_TEXT), \
	MEDIA("url", in, "url", WA_TEXT), \
	MEDIA("voice", in, "voice", WA_BOOL), \
	MEDIA("animated", in, "animated", WA_BOOL)

static const WaColumn media_columns[] =
{
	NUMBER_COLUMN,
	{"message_id", "id", WA_TEXT, true},
	{"kind", "edit.message.type", WA_TEXT},
	{"kind", "type", WA_TEXT},
	MEDIA_COLUMNS(""),
	MEDIA_COLUMNS("edit.message."),
	{"at", "timestamp", WA_TIME},
};

/* as it was sent by another application */
static const WaColumn standby_media_columns[] =
{
	NUMBER_COLUMN,
	{"message_id", "id", WA_TEXT, true},
	{"kind", "message.type", WA_TEXT},
	{"kind", "type", WA_TEXT},
	MEDIA_COLUMNS("message."),
	MEDIA_COLUMNS(""),
	{"at", "timestamp", WA_TIME},
};

#define CALL_MEDIA_COLUMNS(in, what) \
	NUMBER_COLUMN, \
	{"message_id", "id", WA_TEXT, true}, \
	{"kind", "=" what, WA_TEXT}, \
	{"media_id", in "id", WA_TEXT, true}, \
	{"mime_type", in "mime_type", WA_TEXT}, \
	{"sha256", in "sha256", WA_TEXT}, \
	{"filename", in "filename", WA_TEXT}, \
	{"caption", in "caption", WA_TEXT}, \
	{"url", in "url", WA_TEXT}, \
	{"voice", in "voice", WA_BOOL}, \
	{"animated", in "animated", WA_BOOL}, \
	{"at", "timestamp", WA_TIME}

static const WaColumn call_recording_columns[] =
{
	CALL_MEDIA_COLUMNS("call_recording.audio.", "audio"),
};

static const WaColumn call_transcript_columns[] =
{
	CALL_MEDIA_COLUMNS("call_transcript.document.", "document"),
};

/*
 * Statuses
 */
#define STATUS_COLUMNS \
	NUMBER_COLUMN, \
	{"message_id", "id", WA_TEXT, true}, \
	{"status", "status", WA_TEXT, true}

static const WaColumn status_columns[] =
{
	STATUS_COLUMNS,
	{"user_id", "recipient_user_id", WA_TEXT},
	{"wa_id", "recipient_id", WA_TEXT},
	{"wa_id", "message.recipient_id", WA_TEXT},
	{"parent_user_id", "recipient_parent_user_id", WA_TEXT},
	{"parent_user_id", "parent_recipient_user_id", WA_TEXT},
	{"member", "recipient_participant_user_id", WA_TEXT,.unstored = true},
	{"member", "recipient_participant_id", WA_TEXT,.unstored = true},
	{"member", "participant_recipient_id", WA_TEXT,.unstored = true},
	{"transaction", "payment.transaction.id", WA_TEXT,.unstored = true},
	{"outcome", "payment.transaction.status", WA_TEXT,.unstored = true},
	{"at", "timestamp", WA_TIME},
	{"conversation", "conversation", WA_JSON},
	{"pricing", "pricing", WA_JSON},
	{"pricing", "conversation.pricing", WA_JSON},
	{"errors", "errors", WA_JSON},
	{"error_code", "errors.code", WA_INT},
	{"told_data", "biz_opaque_callback_data", WA_TEXT,.unstored = true},
	{"element", "", WA_JSON},
};

/* of a payment, each transaction has its own, and more than one */
static const WaComputed status_computed[] =
{
	{"participant", "coalesce(r.member,"
	" pg_catalog.concat_ws(' ', r.transaction, r.outcome))"},
	{"callback_data", "whatsapp.callback_data(r.told_data)"},
	{NULL}
};

/* what a status tells of the message that it is about */
static const WaColumn message_status_columns[] =
{
	STATUS_COLUMNS,
	{"recipient_id", "recipient_id", WA_TEXT,.unstored = true},
	{"recipient_id", "message.recipient_id", WA_TEXT,.unstored = true},
	{"recipient_user_id", "recipient_user_id", WA_TEXT,.unstored = true},
	{"recipient_type", "recipient_type", WA_TEXT,.unstored = true},
	{"told_group", "group_id", WA_TEXT,.unstored = true},
	{"direction", "=outbound", WA_TEXT},
	{"status_at", "timestamp", WA_TIME},
	{"error_code", "errors.code", WA_INT},
};

/* the recipient is a person or a group, and only the type tells */
#define LEAST_TOLD(name, value) \
	{name, "pg_catalog.min(" value ")" \
	" OVER (PARTITION BY r.phone_number_id, r.message_id)", value}

static const WaComputed message_status_computed[] =
{
	LEAST_TOLD("wa_id", "CASE WHEN r.recipient_type"
			   " IS DISTINCT FROM 'group' THEN r.recipient_id END"),
	LEAST_TOLD("user_id", "r.recipient_user_id"),
	LEAST_TOLD("group_id", "coalesce(r.told_group, CASE WHEN"
			   " r.recipient_type OPERATOR(pg_catalog.=) 'group'"
			   " THEN r.recipient_id END)"),
	{NULL}
};

static const char *const call_types[] = {"call", NULL};
static const char *const not_of_sent_messages[] = {"call", "payment", NULL};

/*
 * Of two statuses the one that is farther, or of two that are as far, the
 * earlier.
 */
#define IS_FARTHER \
	"whatsapp.is_farther(excluded.status, excluded.status_at," \
	" excluded.error_code, t.status, t.status_at, t.error_code)"

#define FARTHEST(column) \
	"CASE WHEN " IS_FARTHER " THEN excluded." column " ELSE t." column " END"

/*
 * What a status tells of the outbox, if that does not know it yet: a token of
 * ours, that the message was accepted; a failure, what became of it.  Whether
 * the token is that of the newest attempt is for whatsapp.settle() to see, as
 * the claim may be newer than our snapshot.
 */
static const WaColumn evidence_columns[] =
{
	STATUS_COLUMNS,
	{"token", "biz_opaque_callback_data", WA_TEXT,.unstored = true},
	{"recipient_id", "recipient_id", WA_TEXT,.unstored = true},
	{"recipient_type", "recipient_type", WA_TEXT,.unstored = true},
};

/* most statuses are none, and are not to cost a query */
static const WaBeginning evidence_only_if[] =
{
	{"token", WA_TOKEN_PREFIX},
	{"status", "failed"},
	{NULL}
};

#define ROW_BY_TOKEN \
	"(SELECT o.id FROM whatsapp.outbox o" \
	" WHERE o.id OPERATOR(pg_catalog.=) whatsapp.token_row(r.token)" \
	" AND o.phone_number_id OPERATOR(pg_catalog.=) r.phone_number_id" \
	" AND (o.state OPERATOR(pg_catalog.<>) 'sent' OR o.message_id IS NULL" \
	" OR r.status OPERATOR(pg_catalog.=) 'failed'))"

#define ROW_BY_MESSAGE \
	"CASE WHEN r.status OPERATOR(pg_catalog.=) 'failed' THEN" \
	" (SELECT m.outbox_id FROM whatsapp.messages m" \
	" WHERE m.phone_number_id OPERATOR(pg_catalog.=) r.phone_number_id" \
	" AND m.message_id OPERATOR(pg_catalog.=) r.message_id) END"

#define ROW_TOLD	"coalesce(" ROW_BY_TOKEN ", " ROW_BY_MESSAGE ")"

static const WaComputed evidence_computed[] =
{
	{"outbox_id", ROW_TOLD},
	{"nonce", "whatsapp.token_nonce(r.token)"},
	{"wa_id", "CASE WHEN r.recipient_type IS DISTINCT FROM 'group'"
	" THEN r.recipient_id END"},
	{NULL}
};

/* in a history, the message itself has its status, in capitals */
static const WaColumn history_status_columns[] =
{
	NUMBER_COLUMN,
	{"message_id", "id", WA_TEXT, true},
	{"told", "history_context.status", WA_TEXT, true,.unstored = true},
	{"status_at", "timestamp", WA_TIME},
	{"error_code", "errors.code", WA_INT},
	SIDE_COLUMNS,
	THREAD_COLUMNS,
};

#define TOLD_STATUS \
	"pg_catalog.replace(pg_catalog.lower(r.told), 'error', 'failed')"

static const WaComputed history_status_computed[] =
{
	SIDE_COMPUTED,
	{"status", TOLD_STATUS},
	{NULL}
};

/*
 * Calls
 */
#define CALL_TABLE \
	.name = "call_events", \
	.filing = WA_MUST, \
	.key = "phone_number_id, call_id, event", \
	.best_first = "r.at DESC NULLS LAST, r.element DESC, wa_id", \
	.keeps_losers = true, \
	.hook = "call"

static const WaColumn call_columns[] =
{
	NUMBER_COLUMN,
	{"call_id", "id", WA_TEXT, true},
	{"event", "event", WA_TEXT},
	{"event", "=", WA_TEXT},
	{"direction", "direction", WA_TEXT},
	{"sender", "from", WA_TEXT,.unstored = true},
	{"addressee", "to", WA_TEXT,.unstored = true},
	{"display", VALUE "metadata.display_phone_number", WA_TEXT,
	.unstored = true},
	{"user_id", "from_user_id", WA_TEXT},
	{"user_id", "to_user_id", WA_TEXT},
	{"status", "status", WA_TEXT},
	{"at", "timestamp", WA_TIME},
	{"started_at", "start_time", WA_TIME},
	{"ended_at", "end_time", WA_TIME},
	{"duration", "duration", WA_INT},
	{"payload", "deeplink_payload", WA_TEXT},
	{"payload", "cta_payload", WA_TEXT},
	{"callback_data", "biz_opaque_callback_data", WA_TEXT},
	{"errors", "errors", WA_JSON},
	{"element", "", WA_JSON},
};

/* samples differ in which side is which, so the one that is us is left out */
static const WaComputed call_computed[] =
{
	{"wa_id", "CASE WHEN " IS_OUR_NUMBER("sender") " THEN r.addressee"
		" WHEN " IS_OUR_NUMBER("addressee") " THEN r.sender"
		" WHEN r.direction OPERATOR(pg_catalog.=)"
	" 'BUSINESS_INITIATED' THEN r.addressee ELSE r.sender END"},
	{NULL}
};

static const WaColumn call_status_columns[] =
{
	NUMBER_COLUMN,
	{"call_id", "id", WA_TEXT, true},
	{"event", "status", WA_TEXT, true},
	{"wa_id", "recipient_id", WA_TEXT},
	{"user_id", "recipient_user_id", WA_TEXT},
	{"status", "status", WA_TEXT},
	{"at", "timestamp", WA_TIME},
	{"callback_data", "biz_opaque_callback_data", WA_TEXT},
	{"errors", "errors", WA_JSON},
	{"element", "", WA_JSON},
};

/*
 * States: each column is the newest that was told of it, by the time of the
 * webhook that did.  That time is in a column of the same name with _at.
 */
#define NEWEST(column, value, further, rest) \
	.best_first = "(coalesce(r." column "_at, '-infinity'), " value \
	rest("r.") ") DESC", \
	.on_conflict = "DO UPDATE SET " column " = excluded." column "," \
	" " column "_at = excluded." column "_at" further \
	" WHERE t." column " IS NULL" \
	" OR (coalesce(excluded." column "_at, '-infinity')," \
	" excluded." column rest("excluded.") ")" \
	" OPERATOR(pg_catalog.>)" \
	" (coalesce(t." column "_at, '-infinity'), t." column rest("t.") ")"

/* what else tells two of the same time apart */
#define NO_REST(row)
#define REST(row, column) ", coalesce(" row column ", '')"

#define NAME_REST(row) REST(row, "language")
#define STATUS_REST(row) REST(row, "status_reason")

#define TEMPLATE_COLUMNS \
	{"waba_id", "/entry.id", WA_TEXT}, \
	{"waba_id", "=", WA_TEXT}, \
	{"template_id", "message_template_id", WA_TEXT, true}

#define TEMPLATE_TABLE \
	.name = "templates", \
	.paths = {"entry.changes.value"}, \
	.filing = WA_MAY, \
	.key = "waba_id, template_id", \
	.hook = "template"

static const WaColumn template_name_columns[] =
{
	TEMPLATE_COLUMNS,
	{"name", "message_template_name", WA_TEXT, true},
	{"language", "message_template_language", WA_TEXT},
	{"name_at", "/entry.time", WA_TIME},
};

static const WaColumn template_status_columns[] =
{
	TEMPLATE_COLUMNS,
	{"status", "event", WA_TEXT, true},
	{"status_reason", "reason", WA_TEXT},
	{"status_at", "/entry.time", WA_TIME},
};

static const WaColumn template_quality_columns[] =
{
	TEMPLATE_COLUMNS,
	{"quality", "new_quality_score", WA_TEXT, true},
	{"quality_at", "/entry.time", WA_TIME},
};

/* of a change to come, new_category is the one that it still has */
static const WaColumn template_category_columns[] =
{
	TEMPLATE_COLUMNS,
	{"category", "message_template_category", WA_TEXT, true},
	{"category", "new_category", WA_TEXT, true},
	{"category", "category", WA_TEXT, true},
	{"category_at", "/entry.time", WA_TIME},
};

static const WaColumn template_components_columns[] =
{
	TEMPLATE_COLUMNS,
	{"words", "message_template_element", WA_TEXT, true,.unstored = true},
	{"title", "message_template_title", WA_TEXT,.unstored = true},
	{"footer", "message_template_footer", WA_TEXT,.unstored = true},
	{"buttons", "message_template_buttons", WA_JSON,.unstored = true},
	{"components_at", "/entry.time", WA_TIME},
};

#define COMPONENTS \
	"pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(" \
	"'header', r.title, 'body', r.words," \
	" 'footer', r.footer, 'buttons', r.buttons))"

static const WaComputed template_components_computed[] =
{
	{"components", COMPONENTS},
	{NULL}
};

/*
 * Groups
 */
#define GROUP_COLUMNS \
	NUMBER_COLUMN, \
	{"group_id", "group_id", WA_TEXT, true}

#define GROUP_TABLE \
	.name = "groups", \
	.paths = {"entry.changes.value.groups"}, \
	.filing = WA_MAY, \
	.key = "phone_number_id, group_id", \
	.hook = "group"

static const WaColumn group_state_columns[] =
{
	GROUP_COLUMNS,
	{"type", "type", WA_TEXT, true,.unstored = true},
	{"errors", "errors", WA_JSON,.unstored = true},
	{"state_at", "timestamp", WA_TIME},
};

#define GROUP_STATE \
	"CASE WHEN r.errors IS NULL THEN CASE r.type" \
	" WHEN 'group_create' THEN 'active'" \
	" WHEN 'group_suspend' THEN 'suspended'" \
	" WHEN 'group_suspend_cleared' THEN 'active'" \
	" WHEN 'group_delete' THEN 'deleted' END END"

static const WaComputed group_state_computed[] =
{
	{"state", GROUP_STATE},
	{NULL}
};

static const WaColumn group_subject_columns[] =
{
	GROUP_COLUMNS,
	{"subject", "subject", WA_TEXT, true},
	{"subject", "group_subject.text", WA_TEXT, true},
	{"successful", "group_subject.update_successful", WA_BOOL,
	.unstored = true},
	{"subject_at", "timestamp", WA_TIME},
};

static const WaColumn group_description_columns[] =
{
	GROUP_COLUMNS,
	{"description", "description", WA_TEXT, true},
	{"description", "group_description.text", WA_TEXT, true},
	{"successful", "group_description.update_successful", WA_BOOL,
	.unstored = true},
	{"description_at", "timestamp", WA_TIME},
};

#define INVITE_REST(row) REST(row, "join_approval_mode")

static const WaColumn group_invite_columns[] =
{
	GROUP_COLUMNS,
	{"invite_link", "invite_link", WA_TEXT, true},
	{"join_approval_mode", "join_approval_mode", WA_TEXT},
	{"invite_link_at", "timestamp", WA_TIME},
};

/*
 * A participant goes by the phone number where it is known, as that is mostly
 * what the API was told, and comes back as "input".
 */
#define PARTICIPANT_COLUMNS \
	NUMBER_COLUMN, \
	{"participant", "wa_id", WA_TEXT, true}, \
	{"participant", "user_id", WA_TEXT, true}, \
	{"participant", "input", WA_TEXT, true}, \
	{"wa_id", "wa_id", WA_TEXT}, \
	{"user_id", "user_id", WA_TEXT}, \
	{"parent_user_id", "parent_user_id", WA_TEXT}, \
	{"username", "username", WA_TEXT}, \
	{"join_request_id", "join_request_id", WA_TEXT}

#define PARTICIPANT_TABLE \
	.name = "group_participants", \
	.filing = WA_MAY, \
	.key = "phone_number_id, group_id, participant", \
	.hook = "group_participant"

#define PARTICIPANT_FURTHER \
	", wa_id = excluded.wa_id, user_id = excluded.user_id" \
	", parent_user_id = excluded.parent_user_id" \
	", username = excluded.username, join_request_id = excluded.join_request_id"

#define PARTICIPANT_REST(row) \
	REST(row, "wa_id") REST(row, "user_id") REST(row, "parent_user_id") \
	REST(row, "username") REST(row, "join_request_id")

static const WaColumn participant_added_columns[] =
{
	PARTICIPANT_COLUMNS,
	{"group_id", VALUE "groups.group_id", WA_TEXT, true},
	{"errors", "errors", WA_JSON,.unstored = true},
	{"state", "=joined", WA_TEXT},
	{"state_at", VALUE "groups.timestamp", WA_TIME},
};

static const WaColumn participant_removed_columns[] =
{
	PARTICIPANT_COLUMNS,
	{"group_id", VALUE "groups.group_id", WA_TEXT, true},
	{"errors", "errors", WA_JSON,.unstored = true},
	{"state", "=removed", WA_TEXT},
	{"state_at", VALUE "groups.timestamp", WA_TIME},
};

static const char *const join_request_types[] = {
	"group_join_request_created", "group_join_request_revoked", NULL
};

static const WaColumn join_request_columns[] =
{
	PARTICIPANT_COLUMNS,
	{"group_id", "group_id", WA_TEXT, true},
	{"type", "type", WA_TEXT, true,.unstored = true},
	{"state_at", "timestamp", WA_TIME},
};

#define JOIN_STATE \
	"CASE r.type WHEN 'group_join_request_created' THEN 'requested'" \
	" ELSE 'request revoked' END"

static const WaComputed join_request_computed[] =
{
	{"state", JOIN_STATE},
	{NULL}
};

static const WaColumn user_preference_columns[] =
{
	NUMBER_COLUMN,
	{"participant", "user_id", WA_TEXT, true},
	{"participant", "wa_id", WA_TEXT, true},
	{"category", "category", WA_TEXT},
	{"category", "=", WA_TEXT},
	{"value", "value", WA_TEXT},
	{"detail", "detail", WA_TEXT},
	{"wa_id", "wa_id", WA_TEXT},
	{"user_id", "user_id", WA_TEXT},
	{"parent_user_id", "parent_user_id", WA_TEXT},
	{"at", "timestamp", WA_TIME},
	{"element", "", WA_JSON},
};

/*
 * Events
 *
 * An event has no id.  What makes it this one is all that it says; of two
 * that say the same at the same time, one is a repetition.
 */
#define EVENT_TABLE \
	.name = "events", \
	.key = "event_id", \
	.best_first = "r.element", \
	.on_conflict = "DO NOTHING"

#define EVENT_COLUMNS(what, at_path) \
	{"waba_id", "/entry.id", WA_TEXT}, \
	{"phone_number_id", VALUE "metadata.phone_number_id", WA_TEXT}, \
	{"field", CHANGE "field", WA_TEXT}, \
	{"event", what, WA_TEXT}, \
	{"at", at_path, WA_TIME}, \
	{"at", "/entry.time", WA_TIME}, \
	{"element", "", WA_JSON}

static const WaComputed element_computed[] =
{
	{"event_id", "whatsapp.event_id(pg_catalog.jsonb_build_array("
		"r.waba_id, r.phone_number_id, r.field)::pg_catalog.text,"
	" r.at, r.element)"},
	{NULL}
};

#define ELEMENT_TABLE(path, list) \
	EVENT_TABLE, \
	.paths = {path}, \
	.filing = WA_MUST, \
	.computed = element_computed, \
	.hook = "event", \
	COLUMNS(list)

/* flows have errors of another kind, which are part of what is told there */
static const WaColumn error_columns[] =
{
	EVENT_COLUMNS("code", "timestamp"),
	{"code", "code", WA_TEXT, true,.unstored = true},
};

static const WaColumn group_event_columns[] =
{
	EVENT_COLUMNS("type", "timestamp"),
};

static const WaColumn user_action_columns[] =
{
	EVENT_COLUMNS("action_type", "timestamp"),
};

static const WaColumn named_event_columns[] =
{
	EVENT_COLUMNS("event_name", "timestamp"),
};

static const WaColumn state_sync_columns[] =
{
	EVENT_COLUMNS("action", "metadata.timestamp"),
};

static const WaColumn user_id_update_columns[] =
{
	EVENT_COLUMNS("=user_id_update", "timestamp"),
};

static const WaColumn summary_columns[] =
{
	EVENT_COLUMNS("=conversation_context", VALUE "messages.timestamp"),
};

static const WaColumn chunk_columns[] =
{
	EVENT_COLUMNS("=chunk", "timestamp"),
};


/* changes that are not filed, or not wholly, in tables of their own */
static const WaColumn change_columns[] =
{
	{"waba_id", "/entry.id", WA_TEXT},
	{"phone_number_id", "value.metadata.phone_number_id", WA_TEXT},
	{"phone_number_id", "value.phone_number_settings.phone_number_id", WA_TEXT},
	{"phone_number_id", "value.recipient.phone_number_id", WA_TEXT},
	{"field", "field", WA_TEXT},
	{"event", "value.event", WA_TEXT},
	{"event", "value.decision", WA_TEXT},
	{"event", "value.type", WA_TEXT},
	{"event", "value.alert_info.alert_type", WA_TEXT},
	{"event", "value.status", WA_TEXT},
	{"at", "value.timestamp", WA_TIME},
	{"at", "/entry.time", WA_TIME},
	{"element", "", WA_JSON},
};

/* likewise entries, and whole webhooks */
static const WaColumn entry_columns[] =
{
	{"waba_id", "id", WA_TEXT},
	{"at", "time", WA_TIME},
	{"element", "", WA_JSON},
};

static const WaColumn document_columns[] =
{
	{"field", "object", WA_TEXT},
	{"element", "", WA_JSON},
};

static const WaComputed event_computed[] =
{
	{"event_id", "whatsapp.event_id(r.waba_id, r.at, r.element)"},
	{NULL}
};

static const WaComputed document_computed[] =
{
	{"event_id", "whatsapp.event_id(NULL, NULL, r.element)"},
	{NULL}
};

static const WaComputed contact_element_computed[] =
{
	{"event_id", "whatsapp.event_id(r.phone_number_id, NULL, r.element)"},
	{NULL}
};

#define FALLBACK_TABLE(path, list) \
	EVENT_TABLE, \
	.paths = {path}, \
	.filing = WA_FALLBACK, \
	.hook = "event", \
	COLUMNS(list)

/*
 * The tables, in the order in which they are filled: what a message refers to
 * is there before the message, and what is said of somebody after who it is of,
 * by which one backend waits for another.
 */
const WaTable wa_fields_tables[] =
{
	[WA_SIGHTINGS] =
	{
		.name = "correspondents",
		.paths = {
			"entry.changes.value.contacts",
			"entry.changes.value.standby.contacts",
			"entry.changes.value.history.threads.context",
			"entry.changes.value.messages",
			"entry.changes.value.standby.messages",
			"entry.changes.value.message_echoes",
			"entry.changes.value.standby.message_echoes",
			"entry.changes.value.history.threads.messages",
			"entry.changes.value.statuses",
			"entry.changes.value.standby.statuses",
			"entry.changes.value.calls",
			"entry.changes.value.user_preferences",
			"entry.changes.value.user_id_update",
			"entry.changes.value.state_sync.contact",
			"entry.changes.value.groups",
			"entry.changes.value.groups.added_participants",
			"entry.changes.value.groups.removed_participants",
		},
		.filing = WA_MAY,
		.unstored = true,
		COLUMNS(sighting_columns),
	},
	[WA_CORRESPONDENTS] =
	{
		.name = "correspondents",
		.filing = WA_MAY,
		.folds = true,
		COLUMNS(correspondent_columns),
		.key = "phone_number_id, contact_key",
		.best_first = "r.last_seen",
		.on_conflict = "DO UPDATE SET"
		" kind = least(t.kind, excluded.kind),"
		" " NEWEST_TOLD("wa_id") ","
		" " NEWEST_TOLD("parent_user_id") ","
		" " NEWEST_TOLD("name") ","
		" " NEWEST_TOLD("username") ","
		" " EARLIEST("first_seen") ","
		" " LATEST("last_seen") ","
		" " LATEST("last_message_at") ","
		" " LATEST("last_inbound_at") ","
		" " LATEST("last_outbound_at") ","
		" " LATEST("last_referral_at") ","
		" " LATEST("free_entry_until")
		" WHERE " IS_LATER("last_seen")
		" OR " IS_NEWS("wa_id")
		" OR " IS_NEWS("parent_user_id")
		" OR " IS_NEWS("name")
		" OR " IS_NEWS("username")
		" OR " IS_EARLIER("kind")
		" OR " IS_EARLIER("first_seen")
		" OR " IS_LATER("last_message_at")
		" OR " IS_LATER("last_inbound_at")
		" OR " IS_LATER("last_outbound_at")
		" OR " IS_LATER("last_referral_at")
		" OR " IS_LATER("free_entry_until"),
	},
	[WA_CONTACT_SIGHTINGS] =
	{
		.name = "contact_sightings",
		.filing = WA_MAY,
		.folds = true,
		COLUMNS(contact_sighting_columns),
		.key = "phone_number_id, contact_key, kind, value",
		.best_first = "r.last_seen",
		.on_conflict = "DO UPDATE SET"
		" " EARLIEST("first_seen") ","
		" " LATEST("last_seen")
		" WHERE " IS_LATER("last_seen")
		" OR " IS_EARLIER("first_seen"),
	},
	{
		CHANGE_TABLE,
		.paths = {
			"entry.changes.value.messages",
			"entry.changes.value.standby.messages",
			"entry.changes.value.history.threads.messages",
		},
		.types = system_types,
		COLUMNS(system_change_columns),
	},
	{
		CHANGE_TABLE,
		.paths = {"entry.changes.value.user_id_update"},
		COLUMNS(user_id_change_columns),
	},
	{
		.name = "events",
		.paths = {
			"entry.changes.value.contacts",
			"entry.changes.value.standby.contacts",
			"entry.changes.value.history.threads.context",
		},
		.filing = WA_MUST,
		.uncounted = true,
		COLUMNS(contact_element_columns),
		.computed = contact_element_computed,
		.key = "event_id",
		.best_first = "r.element",
		.on_conflict = "DO NOTHING",
	},
	{
		MESSAGE_TABLE,
		.paths = {
			"entry.changes.value.messages",
			"entry.changes.value.standby.messages",
		},
		.happened = "sent_at",
		COLUMNS(message_columns),
	},
	{
		MESSAGE_TABLE,
		.paths = {"entry.changes.value.message_echoes"},
		.happened = "sent_at",
		COLUMNS(echo_columns),
	},
	{
		MESSAGE_TABLE,
		.paths = {"entry.changes.value.standby.message_echoes"},
		.happened = "sent_at",
		COLUMNS(standby_echo_columns),
		.computed = standby_echo_computed,
	},
	{
		MESSAGE_TABLE,
		.paths = {"entry.changes.value.history.threads.messages"},
		COLUMNS(history_columns),
		.computed = history_computed,
	},
	{
		REACTION_TABLE,
		.paths = {
			"entry.changes.value.messages",
			"entry.changes.value.standby.messages",
			"entry.changes.value.message_echoes",
			"entry.changes.value.history.threads.messages",
		},
		COLUMNS(reaction_columns),
	},
	{
		REACTION_TABLE,
		.paths = {"entry.changes.value.standby.message_echoes"},
		COLUMNS(standby_reaction_columns),
	},
	{
		MEDIA_TABLE,
		.paths = {
			"entry.changes.value.messages",
			"entry.changes.value.standby.messages",
			"entry.changes.value.message_echoes",
			"entry.changes.value.history.threads.messages",
		},
		COLUMNS(media_columns),
	},
	{
		MEDIA_TABLE,
		.paths = {"entry.changes.value.standby.message_echoes"},
		COLUMNS(standby_media_columns),
	},
	{
		MEDIA_TABLE,
		.paths = {"entry.changes.value.calls"},
		COLUMNS(call_recording_columns),
	},
	{
		MEDIA_TABLE,
		.paths = {"entry.changes.value.calls"},
		COLUMNS(call_transcript_columns),
	},
	{
		.name = "statuses",
		.paths = {
			"entry.changes.value.statuses",
			"entry.changes.value.standby.statuses",
		},
		.filing = WA_MUST,
		.other_types = call_types,
		COLUMNS(status_columns),
		.computed = status_computed,
		.key = "phone_number_id, message_id, status, participant",
		.best_first = "r.at DESC NULLS LAST, r.element DESC",
		.keeps_losers = true,
		.counted_as = WA_COUNT_STATUSES,
		.label = "status",
		.happened = "at",
		.hook = "status",
	},
	{
		.name = "messages",
		.paths = {
			"entry.changes.value.statuses",
			"entry.changes.value.standby.statuses",
		},
		.filing = WA_MAY,
		.other_types = not_of_sent_messages,
		COLUMNS(message_status_columns),
		.computed = message_status_computed,
		.where = "whatsapp.status_rank(r.status) IS NOT NULL",
		.key = "phone_number_id, message_id",
		.best_first = "whatsapp.status_rank(r.status) DESC,"
		" r.status_at NULLS LAST, coalesce(r.error_code, 0)",
		.on_conflict = "DO UPDATE SET"
		" wa_id = " TOLD_BY_STATUS("wa_id") ","
		" user_id = " TOLD_BY_STATUS("user_id") ","
		" group_id = " TOLD_BY_STATUS("group_id") ","
		" status = " FARTHEST("status") ","
		" status_at = " FARTHEST("status_at") ","
		" error_code = " FARTHEST("error_code")
		" WHERE " IS_FARTHER
		" OR " TELLS_OTHER("wa_id")
		" OR " TELLS_OTHER("user_id")
		" OR " TELLS_OTHER("group_id"),
	},
	{
		.name = "messages",
		.paths = {"entry.changes.value.history.threads.messages"},
		.filing = WA_MAY,
		COLUMNS(history_status_columns),
		.computed = history_status_computed,
		.where = IS_OURS " AND whatsapp.status_rank(" TOLD_STATUS ")"
		" IS NOT NULL",
		.key = "phone_number_id, message_id",
		.best_first = "whatsapp.status_rank(" TOLD_STATUS ") DESC,"
		" r.status_at NULLS LAST, coalesce(r.error_code, 0)",
		.on_conflict = "DO UPDATE SET"
		" status = " FARTHEST("status") ","
		" status_at = " FARTHEST("status_at") ","
		" error_code = " FARTHEST("error_code")
		" WHERE " IS_FARTHER,
	},
	{
		CALL_TABLE,
		.paths = {"entry.changes.value.calls"},
		COLUMNS(call_columns),
		.computed = call_computed,
	},
	{
		CALL_TABLE,
		.paths = {"entry.changes.value.statuses"},
		.types = call_types,
		COLUMNS(call_status_columns),
	},
	{
		GROUP_TABLE,
		COLUMNS(group_state_columns),
		.computed = group_state_computed,
		.where = GROUP_STATE " IS NOT NULL",
		NEWEST("state", GROUP_STATE, "", NO_REST),
	},
	{
		GROUP_TABLE,
		COLUMNS(group_subject_columns),
		.where = "r.successful IS NOT FALSE",
		NEWEST("subject", "r.subject", "", NO_REST),
	},
	{
		GROUP_TABLE,
		COLUMNS(group_description_columns),
		.where = "r.successful IS NOT FALSE",
		NEWEST("description", "r.description", "", NO_REST),
	},
	{
		GROUP_TABLE,
		COLUMNS(group_invite_columns),
		NEWEST("invite_link", "r.invite_link",
			   ", join_approval_mode = excluded.join_approval_mode",
			   INVITE_REST),
	},
	{
		PARTICIPANT_TABLE,
		.paths = {"entry.changes.value.groups"},
		.types = join_request_types,
		COLUMNS(join_request_columns),
		.computed = join_request_computed,
		NEWEST("state", JOIN_STATE, PARTICIPANT_FURTHER, PARTICIPANT_REST),
	},
	{
		PARTICIPANT_TABLE,
		.paths = {"entry.changes.value.groups.added_participants"},
		COLUMNS(participant_added_columns),
		.where = "r.errors IS NULL",
		NEWEST("state", "r.state", PARTICIPANT_FURTHER, PARTICIPANT_REST),
	},
	{
		PARTICIPANT_TABLE,
		.paths = {"entry.changes.value.groups.removed_participants"},
		COLUMNS(participant_removed_columns),
		.where = "r.errors IS NULL",
		NEWEST("state", "r.state", PARTICIPANT_FURTHER, PARTICIPANT_REST),
	},
	{
		TEMPLATE_TABLE,
		COLUMNS(template_name_columns),
		NEWEST("name", "r.name", ", language = excluded.language", NAME_REST),
	},
	{
		TEMPLATE_TABLE,
		COLUMNS(template_status_columns),
		NEWEST("status", "r.status", ", status_reason = excluded.status_reason",
			   STATUS_REST),
	},
	{
		TEMPLATE_TABLE,
		COLUMNS(template_quality_columns),
		NEWEST("quality", "r.quality", "", NO_REST),
	},
	{
		TEMPLATE_TABLE,
		COLUMNS(template_category_columns),
		NEWEST("category", "r.category", "", NO_REST),
	},
	{
		TEMPLATE_TABLE,
		COLUMNS(template_components_columns),
		.computed = template_components_computed,
		NEWEST("components", COMPONENTS, "", NO_REST),
	},
	{
		.name = "user_preferences",
		.paths = {"entry.changes.value.user_preferences"},
		.filing = WA_MUST,
		COLUMNS(user_preference_columns),
		.key = "phone_number_id, participant, category",
		.best_first = "r.at DESC NULLS LAST, r.element DESC",
		.keeps_losers = true,
		.hook = "user_preference",
		.content_hook = "user_preference",
	},
	{
		/* after messages: who records the same message has done so by now */
		.name = "evidence",
		.paths = {
			"entry.changes.value.statuses",
			"entry.changes.value.standby.statuses",
		},
		.filing = WA_MAY,
		.other_types = not_of_sent_messages,
		.only_if = evidence_only_if,
		COLUMNS(evidence_columns),
		.computed = evidence_computed,
		.where = ROW_TOLD " IS NOT NULL",
		.key = "phone_number_id, message_id, status",
		.best_first = "r.token, r.recipient_id",
		.on_conflict = "DO NOTHING",
	},
	{ELEMENT_TABLE("entry.changes.value.errors", error_columns)},
	{ELEMENT_TABLE("entry.changes.value.history.errors", error_columns)},
	{ELEMENT_TABLE("entry.changes.value.history.metadata", chunk_columns)},
	{ELEMENT_TABLE("entry.changes.value.groups", group_event_columns)},
	{ELEMENT_TABLE("entry.changes.value.user_actions", user_action_columns)},
	{ELEMENT_TABLE("entry.changes.value.automatic_events", named_event_columns)},
	{ELEMENT_TABLE("entry.changes.value.events", named_event_columns)},
	{ELEMENT_TABLE("entry.changes.value.state_sync", state_sync_columns)},
	{ELEMENT_TABLE("entry.changes.value.user_id_update", user_id_update_columns)},
	{ELEMENT_TABLE("entry.changes.value.conversation_context", summary_columns)},
	{
		FALLBACK_TABLE("entry.changes", change_columns),
		.computed = event_computed,
	},
	{
		FALLBACK_TABLE("entry", entry_columns),
		.computed = event_computed,
	},
	{
		FALLBACK_TABLE("", document_columns),
		.computed = document_computed,
	},
};

const int	wa_fields_ntables = lengthof(wa_fields_tables);

/* Webhooks that are none of WhatsApp's are one event each */
const WaTable *const wa_fields_foreign_table =
&wa_fields_tables[lengthof(wa_fields_tables) - 1];

/* What needs no column: it says the same in every webhook, or tells the path */
const char *const wa_fields_understood[] =
{
	"object",
	"entry.id",
	"entry.time",
	"entry.changes.field",
	"entry.changes.value.messaging_product",
	"entry.changes.value.metadata.display_phone_number",
	NULL
};

/*
 * What the On-Premises API sent, and what providers pass on, may be no more
 * than a part of what Meta sends now.  The first member that a document has
 * decides.
 */
const WaPart wa_fields_parts[] =
{
	{"entry", ""},
	{"changes", "entry"},
	{"value", "entry.changes"},
	{"messaging_product", "entry.changes.value"},
	{"messages", "entry.changes.value"},
	{"statuses", "entry.changes.value"},
	{"message_echoes", "entry.changes.value"},
};

const int	wa_fields_nparts = lengthof(wa_fields_parts);

PG_FUNCTION_INFO_V1(whatsapp_webhook_paths);

/*
 * whatsapp.webhook_paths() returns table (table_name text, column_name text,
 *		path text, type text)
 */
Datum
whatsapp_webhook_paths(PG_FUNCTION_ARGS)
{
	static const char *const types[] = {
		[WA_FIRST_TIME] = "time",[WA_PLACE] = "place",[WA_TEXT] = "text",[WA_INT] = "integer",[WA_TIME] = "time",
		[WA_BOOL] = "boolean",[WA_JSON] = "json",
		[WA_EMBEDDED] = "json in a string"
	};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int t = 0; t < wa_fields_ntables; t++)
	{
		const WaTable *table = &wa_fields_tables[t];

		/* where people are named is no column of theirs; see people.c */
		for (int p = 0; !table->unstored && table->paths[p] != NULL; p++)
		{
			for (int i = 0; i < table->ncolumns; i++)
			{
				const WaColumn *column = &table->columns[i];
				const char *in = table->paths[p];
				const char *path = column->path;
				Datum		values[4];
				bool		nulls[4] = {0};

				if (path[0] == '=')
					continue;
				values[0] = CStringGetTextDatum(table->name);
				values[1] = CStringGetTextDatum(column->name);
				if (path[0] == '/')
					values[2] = CStringGetTextDatum(path + 1);
				else
					values[2] = CStringGetTextDatum(psprintf("%s%s%s", in,
															 *in && *path ? "." : "",
															 path));
				values[3] = CStringGetTextDatum(types[column->type]);
				tuplestore_putvalues(result->setResult, result->setDesc,
									 values, nulls);
			}
		}
	}
	return (Datum) 0;
}
