/*-------------------------------------------------------------------------
 *
 * rules.c
 *	  What Meta refuses: the rules for messages that are queued.
 *
 * A rule is about what is found at a path.  A path begins with the type of the
 * message, for what is in its content, or with "options" or another column of
 * whatsapp.outbox.  "key[]" is each element of an array, and "key[a=b]" an
 * object, or each element of an array, whose member "a" is "b" ("a=b|c": or "c";
 * "a!=b": is not, or there is none).  What is not there breaks only rules that say so; neither
 * does what no rule knows, as Meta adds to all of this.
 *
 * To have another rule is to add a line.  The first that is broken is told, so
 * that what an array must be like as a whole comes before what is in it.
 * Sources are sections of what Meta documents for POST /messages, by which the
 * rules are in order: 2.1 simple kinds, 2.3 read and typing calls, 2.4
 * interactive messages, 2.5 payments, 2.6 templates, 2.8 groups, 2.9 marketing
 * messages, 2.11 Direct Send, 2.13 limits.
 *
 * IDENTIFICATION
 *	  src/rules.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "whatsapp.h"

#define REQUIRED			WA_REQUIRED, NULL
#define THERE				WA_THERE, NULL
#define FORBIDDEN			WA_FORBIDDEN, NULL
#define NO_GROUP			WA_NO_GROUP, NULL
#define ONLY_GROUP			WA_ONLY_GROUP, NULL
#define NEEDED_OF_SEVERAL	WA_NEEDED_OF_SEVERAL, NULL
#define NEEDS(key)			WA_NEEDS, key
#define ONE_OF(keys)		WA_ONE_OF, keys
#define ANY_OF(keys)		WA_ANY_OF, keys
#define VALUES(words)		WA_VALUES, words
#define LENGTH(most)		WA_LENGTH, NULL, 0, most
#define RANGE(least, most)	WA_RANGE, NULL, least, most
#define COUNT(least, most)	WA_COUNT, NULL, least, most
#define TOTAL(most)			WA_TOTAL, NULL, 0, most
#define UNIQUE				WA_UNIQUE, NULL
#define SAME				WA_SAME, NULL
#define ADDS_UP				WA_ADDS_UP, NULL
#define MATCHES(regexp, wish)	WA_MATCHES, regexp, 0, 0, wish

#define ANY_NUMBER		1e9

#define IS_URL			MATCHES("^[Hh][Tt][Tt][Pp][Ss]?://[^[:cntrl:]]+$", \
								"be a URL that begins with http:// or https://")
#define IS_NAME			MATCHES("^[a-z0-9_]+$", \
								"consist of lower case letters, digits and underscores")
#define IS_REFERENCE	MATCHES("^[A-Za-z0-9_.-]+$", \
								"consist of letters, digits, underscores, dots and hyphens")
#define IS_CODE			MATCHES("^[A-Za-z0-9]+$", "consist of letters and digits")
#define IS_ONE_LINE		MATCHES("^(?!.*([\\n\\r\\t]| {5}))", \
								"have no newline, no tab, and no more than four spaces in a row")
#define IS_WAMID		MATCHES("^[^\\s[:cntrl:]]+$", "be the id of a message (wamid)")

/* A pair of letters that is a flag; a keycap; or pictures, joined or not */
#define PICTURE			"[\\u00A9\\u00AE\\u203C-\\u3299\\U0001F000-\\U0001FAFF]" \
						"[\\uFE0E\\uFE0F]?[\\U0001F3FB-\\U0001F3FF]?\\u20E3?" \
						"[\\U000E0020-\\U000E007F]*"
#define IS_EMOJI		MATCHES("^([\\U0001F1E6-\\U0001F1FF]{2}|" \
								"[0-9#*]\\uFE0F?\\u20E3|" \
								PICTURE "(\\u200D" PICTURE ")*)?$", \
								"be one emoji, or empty")

/* A file: uploaded, or to be fetched by Meta */
#define MEDIA(type, path) \
	{type, path, "2.1", ONE_OF("id link"), .hint = media_hint}, \
	{type, path ".link", "2.1", IS_URL}

#define MEDIA_HEADER(path) \
	MEDIA("interactive", path "[type=image].image"), \
	MEDIA("interactive", path "[type=video].video"), \
	MEDIA("interactive", path "[type=document].document")

#define PLACE(type, path) \
	{type, path ".latitude", "2.1", REQUIRED}, \
	{type, path ".latitude", "2.1", RANGE(-90, 90)}, \
	{type, path ".longitude", "2.1", REQUIRED}, \
	{type, path ".longitude", "2.1", RANGE(-180, 180)}

/* What is said of a message that came, to nobody in particular */
#define READ_CALL(type) \
	{type, type ".message_id", "2.3", REQUIRED}, \
	{type, type ".message_id", "2.3", IS_WAMID}, \
	{type, type ".messaging_product", "2.3", FORBIDDEN, .hint = "It is always whatsapp."}, \
	{type, type ".status", "2.3", FORBIDDEN, .hint = "It is always read."}, \
	{type, type ".to", "2.3", FORBIDDEN}, \
	{type, type ".recipient", "2.3", FORBIDDEN}, \
	{type, type ".type", "2.3", FORBIDDEN}

/* (a button of sub_type voice_call needs no index) */
#define PARAMETERS(path, body_length) \
	{"template", path "[].type", "2.6", REQUIRED}, \
	{"template", path "[].parameters[].type", "2.6", REQUIRED}, \
	{"template", path "[].parameters[type=text].text", "2.6", REQUIRED}, \
	{"template", path "[type=header].parameters[type=text].text", "2.13", LENGTH(60)}, \
	{"template", path "[type=body].parameters[type=text].text", "2.13", LENGTH(body_length)}, \
	{"template", path "[].parameters[type=text].text", "2.6", IS_ONE_LINE, .hint = one_line_hint}, \
	{"template", path "[].parameters[type=currency].currency", "2.6", REQUIRED}, \
	{"template", path "[].parameters[type=currency].currency.fallback_value", "2.6", REQUIRED}, \
	{"template", path "[].parameters[type=currency].currency.code", "2.6", REQUIRED}, \
	{"template", path "[].parameters[type=currency].currency.amount_1000", "2.6", REQUIRED}, \
	{"template", path "[].parameters[type=date_time].date_time", "2.6", REQUIRED}, \
	{"template", path "[].parameters[type=date_time].date_time.fallback_value", "2.6", REQUIRED}, \
	{"template", path "[].parameters[type=image].image", "2.6", REQUIRED}, \
	MEDIA("template", path "[].parameters[type=image].image"), \
	{"template", path "[].parameters[type=video].video", "2.6", REQUIRED}, \
	MEDIA("template", path "[].parameters[type=video].video"), \
	{"template", path "[].parameters[type=document].document", "2.6", REQUIRED}, \
	MEDIA("template", path "[].parameters[type=document].document"), \
	{"template", path "[].parameters[type=gif].gif", "2.6", REQUIRED}, \
	MEDIA("template", path "[].parameters[type=gif].gif"), \
	{"template", path "[].parameters[type=location].location", "2.6", REQUIRED}, \
	PLACE("template", path "[].parameters[type=location].location"), \
	{"template", path "[type=button].sub_type", "2.6", REQUIRED}, \
	{"template", path "[sub_type=quick_reply|url|copy_code|flow|catalog|mpm|order_details].index", "2.6", REQUIRED}, \
	{"template", path "[type=button].index", "2.13", RANGE(0, 9)}, \
	{"template", path "[sub_type=quick_reply].parameters[type=payload].payload", "2.13", LENGTH(256)}, \
	{"template", path "[sub_type=url].parameters[type=text].text", "2.13", LENGTH(2000)}, \
	{"template", path "[sub_type=copy_code].parameters[type=coupon_code].coupon_code", "2.6", REQUIRED}, \
	{"template", path "[sub_type=copy_code].parameters[type=coupon_code].coupon_code", "2.13", LENGTH(15)}, \
	{"template", path "[sub_type=copy_code].parameters[type=coupon_code].coupon_code", "2.6", IS_CODE}, \
	{"template", path "[sub_type=voice_call].parameters[type=ttl_minutes].ttl_minutes", "2.13", RANGE(1, 43200)}, \
	{"template", path "[sub_type=voice_call].parameters[type=payload].payload", "2.13", LENGTH(512)}

static const char media_hint[] = "Set id to that of a file that was uploaded to Meta, or link to a URL from which Meta can fetch it.";
static const char one_line_hint[] = "Put it on one line: newlines are part of templates, not of parameters.";
static const char read_hint[] = "Use whatsapp.mark_read() or whatsapp.typing().";
static const char group_hint[] = "Send it to each participant, or send text, media or a template.";
static const char free_form_hint[] = "Send a template, or leave out category if the recipient has written within 24 hours.";

const WaRule wa_rules[] = {
	{"text", "text.body", "2.1", REQUIRED,.hint = "Set body to what is to be said."},
	{"text", "text.body", "2.13", LENGTH(4096),.hint = "Send it as several messages."},

	MEDIA("image", "image"),
	{"image", "image.caption", "2.13", LENGTH(1024)},
	MEDIA("video", "video"),
	{"video", "video.caption", "2.13", LENGTH(1024)},
	MEDIA("audio", "audio"),
	{"audio", "audio.caption", "2.1", FORBIDDEN,.hint = "Send the caption as a message of its own."},
	MEDIA("document", "document"),
	{"document", "document.caption", "2.13", LENGTH(1024)},
	MEDIA("sticker", "sticker"),
	{"sticker", "sticker.caption", "2.1", FORBIDDEN,.hint = "Send the caption as a message of its own."},

	PLACE("location", "location"),

	{"contacts", "contacts", "2.13", COUNT(1, 257)},
	{"contacts", "contacts[].name", "2.1", REQUIRED},
	{"contacts", "contacts[].name.formatted_name", "2.1", REQUIRED},
	{"contacts", "contacts[].name", "2.1", ANY_OF("first_name last_name middle_name suffix prefix")},

	{"reaction", "reaction.message_id", "2.1", REQUIRED},
	{"reaction", "reaction.message_id", "2.1", IS_WAMID},
	{"reaction", "reaction.emoji", "2.1", THERE,.hint = "Set it to one emoji, or to an empty string to remove the reaction."},
	{"reaction", "reaction.emoji", "2.1", IS_EMOJI,.hint = "An empty string removes the reaction."},
	{"reaction", "reply_to", "2.2", FORBIDDEN,.hint = "The message that it is about is reaction.message_id."},

	READ_CALL("mark_read"),
	{"mark_read", "mark_read.typing_indicator", "2.3", FORBIDDEN,.hint = "Set type to typing."},
	READ_CALL("typing"),

	{"pin", "recipient_type", "2.8", ONLY_GROUP,.hint = "Set recipient_type to group, and recipient to the id of the group."},
	{"pin", "pin.type", "2.8", REQUIRED},
	{"pin", "pin.type", "2.8", VALUES("pin unpin")},
	{"pin", "pin.message_id", "2.8", REQUIRED},
	{"pin", "pin.message_id", "2.8", IS_WAMID},
	{"pin", "pin.expiration_days", "2.8", RANGE(1, 30)},

	/* interactive: what all kinds have */
	{"interactive", "recipient_type", "2.8", NO_GROUP,.hint = group_hint},
	{"interactive", "interactive.type", "2.4", REQUIRED},
	{"interactive", "interactive.type", "2.4", LENGTH(100)},
	{"interactive", "interactive.header.type", "2.4", REQUIRED},
	{"interactive", "interactive[type=list].header.type", "2.4", VALUES("text")},
	{"interactive", "interactive[type=product_list].header.type", "2.4", VALUES("text")},
	{"interactive", "interactive[type=button|cta_url|flow|address_message|order_details].header.type", "2.4", VALUES("text image video document")},
	{"interactive", "interactive.header[type=text].text", "2.4", REQUIRED},
	{"interactive", "interactive.header[type=text].text", "2.13", LENGTH(60)},
	{"interactive", "interactive.header[type=image].image", "2.4", REQUIRED},
	{"interactive", "interactive.header[type=video].video", "2.4", REQUIRED},
	{"interactive", "interactive.header[type=document].document", "2.4", REQUIRED},
	MEDIA_HEADER("interactive.header"),
	{"interactive", "interactive.body.text", "2.4", REQUIRED},
	{"interactive", "interactive[type=button|cta_url|location_request_message|flow|address_message|request_contact_info|voice_call|product|product_list|catalog_message|carousel|order_details|order_status|call_permission_request].body.text", "2.13", LENGTH(1024)},
	{"interactive", "interactive.footer.text", "2.4", REQUIRED},
	{"interactive", "interactive.footer.text", "2.13", LENGTH(60)},

	{"interactive", "interactive[type=button].body", "2.4", REQUIRED},
	{"interactive", "interactive[type=button].action", "2.4", REQUIRED},
	{"interactive", "interactive[type=button].action.buttons", "2.4", REQUIRED},
	{"interactive", "interactive[type=button].action.buttons", "2.13", COUNT(1, 3),.hint = "Send a list instead: it takes ten rows.",.is_free_form = true},
	{"interactive", "interactive[type=button].action.buttons[].type", "2.4", REQUIRED},
	{"interactive", "interactive[type=button].action.buttons[].type", "2.4", VALUES("reply"),.is_free_form = true},
	{"interactive", "interactive[type=button].action.buttons[type=reply].reply", "2.4", REQUIRED},
	{"interactive", "interactive[type=button].action.buttons[].reply.id", "2.4", REQUIRED},
	{"interactive", "interactive[type=button].action.buttons[].reply.id", "2.13", LENGTH(256)},
	{"interactive", "interactive[type=button].action.buttons[].reply.id", "2.4", UNIQUE},
	{"interactive", "interactive[type=button].action.buttons[].reply.title", "2.4", REQUIRED},
	{"interactive", "interactive[type=button].action.buttons[].reply.title", "2.13", LENGTH(20)},
	{"interactive", "interactive[type=button].action.buttons[].reply.title", "2.4", UNIQUE},

	{"interactive", "interactive[type=list].body", "2.4", REQUIRED},
	{"interactive", "interactive[type=list].body.text", "2.13", LENGTH(4096)},
	{"interactive", "interactive[type=list].action", "2.4", REQUIRED},
	{"interactive", "interactive[type=list].action.button", "2.4", REQUIRED},
	{"interactive", "interactive[type=list].action.button", "2.13", LENGTH(20)},
	{"interactive", "interactive[type=list].action.sections", "2.4", REQUIRED},
	{"interactive", "interactive[type=list].action.sections", "2.13", COUNT(1, 10)},
	{"interactive", "interactive[type=list].action.sections[].title", "2.4", NEEDED_OF_SEVERAL},
	{"interactive", "interactive[type=list].action.sections[].title", "2.13", LENGTH(24)},
	{"interactive", "interactive[type=list].action.sections[].rows", "2.4", REQUIRED},
	{"interactive", "interactive[type=list].action.sections[].rows", "2.4", COUNT(1, ANY_NUMBER)},
	{"interactive", "interactive[type=list].action.sections[].rows[]", "2.13", TOTAL(10)},
	{"interactive", "interactive[type=list].action.sections[].rows[].id", "2.4", REQUIRED},
	{"interactive", "interactive[type=list].action.sections[].rows[].id", "2.13", LENGTH(200)},
	{"interactive", "interactive[type=list].action.sections[].rows[].id", "2.4", UNIQUE},
	{"interactive", "interactive[type=list].action.sections[].rows[].title", "2.4", REQUIRED},
	{"interactive", "interactive[type=list].action.sections[].rows[].title", "2.13", LENGTH(24)},
	{"interactive", "interactive[type=list].action.sections[].rows[].description", "2.13", LENGTH(72)},

	{"interactive", "interactive[type=cta_url].body", "2.4", REQUIRED},
	{"interactive", "interactive[type=cta_url].action", "2.4", REQUIRED},
	{"interactive", "interactive[type=cta_url].action.name", "2.4", REQUIRED},
	{"interactive", "interactive[type=cta_url].action.name", "2.4", VALUES("cta_url")},
	{"interactive", "interactive[type=cta_url].action.parameters", "2.4", REQUIRED},
	{"interactive", "interactive[type=cta_url].action.parameters.display_text", "2.4", REQUIRED},
	{"interactive", "interactive[type=cta_url].action.parameters.display_text", "2.13", LENGTH(20)},
	{"interactive", "interactive[type=cta_url].action.parameters.url", "2.4", REQUIRED},
	{"interactive", "interactive[type=cta_url].action.parameters.url", "2.4", IS_URL},

	{"interactive", "interactive[type=location_request_message].body", "2.4", REQUIRED},
	{"interactive", "interactive[type=location_request_message].action", "2.4", REQUIRED},
	{"interactive", "interactive[type=location_request_message].action.name", "2.4", REQUIRED},
	{"interactive", "interactive[type=location_request_message].action.name", "2.4", VALUES("send_location")},

	{"interactive", "interactive[type=flow].body", "2.4", REQUIRED},
	{"interactive", "interactive[type=flow].action", "2.4", REQUIRED},
	{"interactive", "interactive[type=flow].action.name", "2.4", REQUIRED},
	{"interactive", "interactive[type=flow].action.name", "2.4", VALUES("flow")},
	{"interactive", "interactive[type=flow].action.parameters", "2.4", REQUIRED},
	{"interactive", "interactive[type=flow].action.parameters.flow_message_version", "2.4", REQUIRED},
	{"interactive", "interactive[type=flow].action.parameters", "2.4", ONE_OF("flow_id flow_name")},
	{"interactive", "interactive[type=flow].action.parameters.flow_cta", "2.4", REQUIRED},
	{"interactive", "interactive[type=flow].action.parameters.flow_cta", "2.13", LENGTH(30)},
	{"interactive", "interactive[type=flow].action.parameters.flow_action", "2.4", VALUES("navigate data_exchange")},
	{"interactive", "interactive[type=flow].action.parameters[flow_action=data_exchange].flow_action_payload", "2.4", FORBIDDEN},
	{"interactive", "interactive[type=flow].action.parameters.flow_action_payload.data", "2.4", COUNT(1, ANY_NUMBER),.hint = "Leave it out, if there is nothing in it."},
	{"interactive", "interactive[type=flow].action.parameters.mode", "2.4", VALUES("draft published")},

	{"interactive", "interactive[type=address_message].body", "2.4", REQUIRED},
	{"interactive", "interactive[type=address_message].action", "2.4", REQUIRED},
	{"interactive", "interactive[type=address_message].action.name", "2.4", REQUIRED},
	{"interactive", "interactive[type=address_message].action.name", "2.4", VALUES("address_message")},
	{"interactive", "interactive[type=address_message].action.parameters", "2.4", REQUIRED},
	{"interactive", "interactive[type=address_message].action.parameters.country", "2.4", REQUIRED},
	{"interactive", "interactive[type=address_message].action.parameters[country=IN].values.in_pin_code", "2.4", RANGE(100000, 999999)},

	{"interactive", "interactive[type=request_contact_info].body", "2.4", REQUIRED},
	{"interactive", "interactive[type=request_contact_info].action", "2.4", REQUIRED},
	{"interactive", "interactive[type=request_contact_info].action.name", "2.4", REQUIRED},
	{"interactive", "interactive[type=request_contact_info].action.name", "2.4", VALUES("request_contact_info")},

	{"interactive", "interactive[type=call_permission_request].action", "2.4", REQUIRED},
	{"interactive", "interactive[type=call_permission_request].action.name", "2.4", REQUIRED},
	{"interactive", "interactive[type=call_permission_request].action.name", "2.4", VALUES("call_permission_request")},

	{"interactive", "interactive[type=voice_call].body", "2.4", REQUIRED},
	{"interactive", "interactive[type=voice_call].action", "2.4", REQUIRED},
	{"interactive", "interactive[type=voice_call].action.name", "2.4", REQUIRED},
	{"interactive", "interactive[type=voice_call].action.name", "2.4", VALUES("voice_call")},
	{"interactive", "interactive[type=voice_call].action.parameters.display_text", "2.13", LENGTH(20)},
	{"interactive", "interactive[type=voice_call].action.parameters.ttl_minutes", "2.13", RANGE(1, 43200)},
	{"interactive", "interactive[type=voice_call].action.parameters.payload", "2.13", LENGTH(512)},

	{"interactive", "interactive[type=product].header", "2.4", FORBIDDEN},
	{"interactive", "interactive[type=product].action", "2.4", REQUIRED},
	{"interactive", "interactive[type=product].action.catalog_id", "2.4", REQUIRED},
	{"interactive", "interactive[type=product].action.product_retailer_id", "2.4", REQUIRED},

	{"interactive", "interactive[type=product_list].header", "2.4", REQUIRED},
	{"interactive", "interactive[type=product_list].body", "2.4", REQUIRED},
	{"interactive", "interactive[type=product_list].action", "2.4", REQUIRED},
	{"interactive", "interactive[type=product_list].action.catalog_id", "2.4", REQUIRED},
	{"interactive", "interactive[type=product_list].action.sections", "2.4", REQUIRED},
	{"interactive", "interactive[type=product_list].action.sections", "2.13", COUNT(1, 10)},
	{"interactive", "interactive[type=product_list].action.sections[].title", "2.4", NEEDED_OF_SEVERAL},
	{"interactive", "interactive[type=product_list].action.sections[].title", "2.13", LENGTH(24)},
	{"interactive", "interactive[type=product_list].action.sections[].product_items", "2.4", REQUIRED},
	{"interactive", "interactive[type=product_list].action.sections[].product_items", "2.4", COUNT(1, ANY_NUMBER)},
	{"interactive", "interactive[type=product_list].action.sections[].product_items[]", "2.13", TOTAL(30)},
	{"interactive", "interactive[type=product_list].action.sections[].product_items[].product_retailer_id", "2.4", REQUIRED},

	{"interactive", "interactive[type=catalog_message].body", "2.4", REQUIRED},
	{"interactive", "interactive[type=catalog_message].action", "2.4", REQUIRED},
	{"interactive", "interactive[type=catalog_message].action.name", "2.4", REQUIRED},
	{"interactive", "interactive[type=catalog_message].action.name", "2.4", VALUES("catalog_message")},

	{"interactive", "interactive[type=carousel].body", "2.4", REQUIRED},
	{"interactive", "interactive[type=carousel].action", "2.4", REQUIRED},
	{"interactive", "interactive[type=carousel].action.cards", "2.4", REQUIRED},
	{"interactive", "interactive[type=carousel].action.cards", "2.13", COUNT(2, 10)},
	{"interactive", "interactive[type=carousel].action.cards[].card_index", "2.4", REQUIRED},
	{"interactive", "interactive[type=carousel].action.cards[].card_index", "2.4", RANGE(0, 9)},
	{"interactive", "interactive[type=carousel].action.cards[].card_index", "2.4", UNIQUE},
	{"interactive", "interactive[type=carousel].action.cards[].type", "2.4", REQUIRED},
	{"interactive", "interactive[type=carousel].action.cards[].type", "2.4", SAME},
	{"interactive", "interactive[type=carousel].action.cards[type=cta_url].header", "2.4", REQUIRED},
	{"interactive", "interactive[type=carousel].action.cards[].header.type", "2.4", REQUIRED},
	{"interactive", "interactive[type=carousel].action.cards[].header.type", "2.4", VALUES("image video")},
	{"interactive", "interactive[type=carousel].action.cards[].header.type", "2.4", SAME},
	MEDIA("interactive", "interactive[type=carousel].action.cards[].header[type=image].image"),
	MEDIA("interactive", "interactive[type=carousel].action.cards[].header[type=video].video"),
	{"interactive", "interactive[type=carousel].action.cards[].body.text", "2.13", LENGTH(160)},
	{"interactive", "interactive[type=carousel].action.cards[].body.text", "2.13", MATCHES("^[^\\n]*(\\n[^\\n]*){0,2}$", "have two line breaks at most")},
	{"interactive", "interactive[type=carousel].action.cards[].action", "2.4", REQUIRED},
	{"interactive", "interactive[type=carousel].action.cards[].action.name", "2.4", SAME},
	{"interactive", "interactive[type=carousel].action.cards[].action[name=cta_url].parameters", "2.4", REQUIRED},
	{"interactive", "interactive[type=carousel].action.cards[].action[name=cta_url].parameters.display_text", "2.4", REQUIRED},
	{"interactive", "interactive[type=carousel].action.cards[].action.parameters.display_text", "2.13", LENGTH(20)},
	{"interactive", "interactive[type=carousel].action.cards[].action[name=cta_url].parameters.url", "2.4", REQUIRED},
	{"interactive", "interactive[type=carousel].action.cards[].action.parameters.url", "2.4", IS_URL},
	{"interactive", "interactive[type=carousel].action.cards[].action.buttons", "2.4", SAME},
	{"interactive", "interactive[type=carousel].action.cards[].action.buttons[].type", "2.4", VALUES("quick_reply url")},
	{"interactive", "interactive[type=carousel].action.cards[].action.buttons[type=quick_reply].quick_reply", "2.4", REQUIRED},
	{"interactive", "interactive[type=carousel].action.cards[].action.buttons[].quick_reply.id", "2.4", REQUIRED},
	{"interactive", "interactive[type=carousel].action.cards[].action.buttons[].quick_reply.id", "2.13", LENGTH(20)},
	{"interactive", "interactive[type=carousel].action.cards[].action.buttons[].quick_reply.title", "2.4", REQUIRED},
	{"interactive", "interactive[type=carousel].action.cards[].action.buttons[].quick_reply.title", "2.13", LENGTH(20)},
	{"interactive", "interactive[type=carousel].action.cards[type=product].action.catalog_id", "2.4", REQUIRED},
	{"interactive", "interactive[type=carousel].action.cards[type=product].action.catalog_id", "2.4", SAME},
	{"interactive", "interactive[type=carousel].action.cards[type=product].action.product_retailer_id", "2.4", REQUIRED},

	{"interactive", "interactive[type=order_details].body", "2.4", REQUIRED},
	{"interactive", "interactive[type=order_details].action", "2.5", REQUIRED},
	{"interactive", "interactive[type=order_details].action.name", "2.5", REQUIRED},
	{"interactive", "interactive[type=order_details].action.name", "2.5", VALUES("review_and_pay")},
	{"interactive", "interactive[type=order_details].action.parameters", "2.5", REQUIRED},
	{"interactive", "interactive[type=order_details].action.parameters.reference_id", "2.5", REQUIRED},
	{"interactive", "interactive[type=order_details].action.parameters.reference_id", "2.13", LENGTH(35)},
	{"interactive", "interactive[type=order_details].action.parameters.reference_id", "2.5", IS_REFERENCE},
	{"interactive", "interactive[type=order_details].action.parameters.currency", "2.5", REQUIRED},
	{"interactive", "interactive[type=order_details].action.parameters.total_amount", "2.5", REQUIRED},
	{"interactive", "interactive[type=order_details].action.parameters.total_amount.value", "2.5", REQUIRED},
	{"interactive", "interactive[type=order_details].action.parameters.total_amount.offset", "2.5", REQUIRED},
	{"interactive", "interactive[type=order_details].action.parameters.total_amount.offset", "2.5", RANGE(100, 100)},
	{"interactive", "interactive[type=order_details].action.parameters.order.items", "2.5", COUNT(1, ANY_NUMBER)},
	{"interactive", "interactive[type=order_details].action.parameters", "2.5", ADDS_UP},

	{"interactive", "interactive[type=order_status].body", "2.4", REQUIRED},
	{"interactive", "interactive[type=order_status].action", "2.5", REQUIRED},
	{"interactive", "interactive[type=order_status].action.name", "2.5", REQUIRED},
	{"interactive", "interactive[type=order_status].action.name", "2.5", VALUES("review_order")},
	{"interactive", "interactive[type=order_status].action.parameters", "2.5", REQUIRED},
	{"interactive", "interactive[type=order_status].action.parameters.reference_id", "2.5", REQUIRED},
	{"interactive", "interactive[type=order_status].action.parameters.reference_id", "2.13", LENGTH(35)},
	{"interactive", "interactive[type=order_status].action.parameters.reference_id", "2.5", IS_REFERENCE},
	{"interactive", "interactive[type=order_status].action.parameters.order.status", "2.5", VALUES("pending processing partially_shipped partially-shipped shipped completed canceled")},
	{"interactive", "interactive[type=order_status].action.parameters.order.description", "2.13", LENGTH(120)},

	/* templates; see also whatsapp.template_complaint() */
	{"template", "template.name", "2.6", REQUIRED},
	{"template", "template.name", "2.13", LENGTH(512)},
	{"template", "template.name", "2.13", IS_NAME},
	{"template", "template.language", "2.6", REQUIRED},
	{"template", "template.language.code", "2.6", REQUIRED},
	{"template", "template.language.code", "2.6", MATCHES("^[A-Za-z0-9_-]{2,15}$", "be the code of a language, such as en_US")},
	{"template", "template.components", "2.6", COUNT(0, 100)},
	PARAMETERS("template.components", 1024),
	{"template", "template.components[sub_type=mpm].parameters[].action.sections", "2.13", COUNT(1, 10)},
	{"template", "template.components[sub_type=mpm].parameters[].action.sections[].product_items[]", "2.13", TOTAL(30)},
	{"template", "template.components[sub_type=mpm].parameters[].action.sections[].product_items[].product_retailer_id", "2.6", REQUIRED},
	{"template", "template.components[type=limited_time_offer].parameters[type=limited_time_offer].limited_time_offer.expiration_time_ms", "2.6", REQUIRED},
	{"template", "template.components[type=tap_target_configuration].parameters[].tap_target_configuration[].url", "2.6", IS_URL},
	{"template", "template.components[type=carousel].cards", "2.6", REQUIRED},
	{"template", "template.components[type=carousel].cards", "2.13", COUNT(2, 10)},
	{"template", "template.components[type=carousel].cards[].card_index", "2.6", REQUIRED},
	{"template", "template.components[type=carousel].cards[].components", "2.6", REQUIRED},
	PARAMETERS("template.components[type=carousel].cards[].components", 160),

	/* what stands beside the content */
	{"audio", "options[category!=service].category", "2.11", FORBIDDEN,.hint = free_form_hint},
	{"contacts", "options[category!=service].category", "2.11", FORBIDDEN,.hint = free_form_hint},
	{"location", "options[category!=service].category", "2.11", FORBIDDEN,.hint = free_form_hint},
	{"reaction", "options[category!=service].category", "2.11", FORBIDDEN,.hint = free_form_hint},
	{"sticker", "options[category!=service].category", "2.11", FORBIDDEN,.hint = free_form_hint},
	{"*", "options.category", "2.11", VALUES("utility authentication service")},
	{"*", "options.ttl_seconds", "2.7", NEEDS("category"),.hint = "How long Meta tries to deliver an ordinary template is a property of the template; how long a row may wait to be sent is whatsapp.outbox.expires_at."},
	{"*", "options[category=utility].ttl_seconds", "2.7", RANGE(30, 43200)},
	{"*", "options[category=authentication].ttl_seconds", "2.7", RANGE(30, 900)},
	{"*", "options.direct_send_config", "2.11", NEEDS("category")},
	{"*", "options.direct_send_config.template_name", "2.11", REQUIRED},
	{"*", "options.direct_send_config.template_name", "2.13", LENGTH(512)},
	{"*", "options.direct_send_config.template_name", "2.11", IS_NAME},
	{"*", "options.product_policy", "2.9", VALUES("CLOUD_API_FALLBACK STRICT")},
	{"*", "options.messaging_product", "1.3", FORBIDDEN,.hint = "It is always whatsapp."},
	{"*", "options.to", "1.3", FORBIDDEN,.hint = "Set recipient."},
	{"*", "options.recipient", "1.3", FORBIDDEN,.hint = "Set recipient."},
	{"*", "options.recipient_type", "1.3", FORBIDDEN,.hint = "Set recipient_type."},
	{"*", "options.type", "1.3", FORBIDDEN,.hint = "Set type."},
	{"*", "options.context", "1.3", FORBIDDEN,.hint = "Set reply_to."},
	{"*", "options.biz_opaque_callback_data", "1.3", FORBIDDEN,.hint = "Set callback_data."},
	{"*", "options.status", "2.3", FORBIDDEN,.hint = read_hint},
	{"*", "options.message_id", "2.3", FORBIDDEN,.hint = read_hint},
	{"*", "options.typing_indicator", "2.3", FORBIDDEN,.hint = read_hint},
	{"*", "reply_to", "2.2", IS_WAMID},
	/* Meta takes 512; the rest is for our own token */
	{"*", "callback_data", "2.13", LENGTH(460)},
};
const int	wa_nrules = lengthof(wa_rules);

/* What each kind is called, and what to do if there is nothing else to say */
static const struct
{
	const char *name;
	const char *hint;
}			kinds[] = {
	[WA_REQUIRED] = {"required", "Set it."},
	[WA_THERE] = {"required", "Set it."},
	[WA_FORBIDDEN] = {"forbidden", "Leave it out."},
	[WA_NO_GROUP] = {"not in groups", NULL},
	[WA_ONLY_GROUP] = {"only in groups", NULL},
	[WA_NEEDED_OF_SEVERAL] = {"required if there are several", "Give each a title, or have one only."},
	[WA_NEEDS] = {"needs", "Set that, too, or leave this out."},
	[WA_ONE_OF] = {"one of", "Set one of them, and leave out the others."},
	[WA_ANY_OF] = {"any of", "Set one of them at least."},
	[WA_VALUES] = {"values", "Set it to one of these."},
	[WA_LENGTH] = {"length", "Shorten it."},
	[WA_RANGE] = {"range", "Set it to a number in that range."},
	[WA_COUNT] = {"count", "Add some, or leave some out."},
	[WA_TOTAL] = {"total", "Leave some out, or send several messages."},
	[WA_UNIQUE] = {"unique", "Make them differ."},
	[WA_SAME] = {"same", "Make them alike."},
	[WA_ADDS_UP] = {"adds up", "The total is subtotal, tax and shipping, less the discount."},
	[WA_MATCHES] = {"matches", "Change it."}
};

static const char *listed(const char *words);

PG_FUNCTION_INFO_V1(whatsapp_message_rules);

/*
 * What to do about a rule that is broken.
 */
const char *
wa_rule_hint(const WaRule *rule)
{
	return rule->hint != NULL ? rule->hint : kinds[rule->kind].hint;
}

/*
 * What is asked for by a rule, to come after its path.
 */
const char *
wa_rule_wish(const WaRule *rule)
{
	switch (rule->kind)
	{
		case WA_REQUIRED:
		case WA_THERE:
			return "is required";
		case WA_FORBIDDEN:
			return "is not allowed";
		case WA_NO_GROUP:
			return "must not be group";
		case WA_ONLY_GROUP:
			return "must be group";
		case WA_NEEDED_OF_SEVERAL:
			return "is required, as there are several";
		case WA_NEEDS:
			return psprintf("is not allowed without %s", rule->text);
		case WA_ONE_OF:
			return psprintf("must have exactly one of %s", listed(rule->text));
		case WA_ANY_OF:
			return psprintf("must have at least one of %s", listed(rule->text));
		case WA_VALUES:
			return psprintf(strchr(rule->text, ' ') != NULL ?
							"must be one of %s" : "must be %s",
							listed(rule->text));
		case WA_LENGTH:
			return psprintf("must have at most %.0f characters", rule->most);
		case WA_RANGE:
			return rule->least == rule->most ?
				psprintf("must be %.0f", rule->most) :
				psprintf("must be from %.0f to %.0f", rule->least, rule->most);
		case WA_COUNT:
			return rule->most == ANY_NUMBER ? "must not be empty" :
				psprintf("must have from %.0f to %.0f elements", rule->least,
						 rule->most);
		case WA_TOTAL:
			return psprintf("must be at most %.0f in total", rule->most);
		case WA_UNIQUE:
			return "must be unique";
		case WA_SAME:
			return "must be alike everywhere";
		case WA_ADDS_UP:
			return "must add up";
		case WA_MATCHES:
			return psprintf("must %s", rule->wish);
	}
	return NULL;				/* keep the compiler quiet */
}

/*
 * Words as people list them.
 */
static const char *
listed(const char *words)
{
	StringInfoData list;

	initStringInfo(&list);
	for (const char *c = words; *c != '\0'; c++)
		appendStringInfo(&list, *c == ' ' ? ", " : "%c", *c);
	return list.data;
}

/*
 * whatsapp.message_rules() returns table (rule integer, type text, path text,
 *		kind text, "limit" text, wish text, hint text, source text)
 */
Datum
whatsapp_message_rules(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < wa_nrules; i++)
	{
		const WaRule *rule = &wa_rules[i];
		Datum		values[8];
		bool		nulls[8] = {0};
		const char *limit = rule->text;

		if (rule->kind == WA_LENGTH || rule->kind == WA_TOTAL)
			limit = psprintf("%.0f", rule->most);
		else if (rule->kind == WA_COUNT && rule->most == ANY_NUMBER)
			limit = psprintf("%.0f", rule->least);
		else if (rule->kind == WA_COUNT || rule->kind == WA_RANGE)
			limit = psprintf("%.0f to %.0f", rule->least, rule->most);

		values[0] = Int32GetDatum(i + 1);
		values[1] = CStringGetTextDatum(rule->type);
		values[2] = CStringGetTextDatum(rule->path);
		values[3] = CStringGetTextDatum(kinds[rule->kind].name);
		nulls[4] = limit == NULL;
		values[4] = nulls[4] ? (Datum) 0 : CStringGetTextDatum(limit);
		values[5] = CStringGetTextDatum(wa_rule_wish(rule));
		values[6] = CStringGetTextDatum(wa_rule_hint(rule));
		values[7] = CStringGetTextDatum(rule->source);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
