/*-------------------------------------------------------------------------
 *
 * people.c
 *	  Tell who is named in a webhook.
 *
 * People are named in many places of a webhook, each with its own keys, and
 * by several identifiers at once: a phone number, a business-scoped user id
 * (BSUID), a parent BSUID, a username.  shred.c has made a row of each such
 * place, with all that is there; here these become rows of
 * whatsapp.correspondents, one for the BSUID or else the phone number, and of
 * whatsapp.contact_sightings, one for each identifier that came with it.
 *
 * A place tells what it tells, whatever else is in the webhook.  So it makes
 * no difference with what else it comes.  The exception is what Meta says of
 * contacts, which has no time: it is as new as the messages and statuses
 * beside it that are of the same person.
 *
 * Who is the same person as who is for the install script to say, and only
 * when somebody asks, as what tells it may come at any time.
 *
 * IDENTIFICATION
 *	  src/people.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "whatsapp.h"

/* Columns of the rows that are read; in the order of names[] */
typedef enum Told
{
	NUMBER, DISPLAY, PLACE,
	WA_ID, USER_ID, PARENT_ID, NAME, USERNAME,
	SENDER, SENDER_USER_ID, SENDER_PARENT_ID,
	ADDRESSEE, ADDRESSEE_USER_ID, ADDRESSEE_PARENT_ID,
	THREAD_ID, THREAD_USER_ID, THREAD_PARENT_ID,
	TYPE, DIRECTION, CALL, AD,
	RECIPIENT, RECIPIENT_USER_ID, RECIPIENT_PARENT_ID, RECIPIENT_TYPE,
	MEMBER, MEMBER_USER_ID, MEMBER_PARENT_ID, GROUP_ID,
	ORIGIN, EXPIRATION,
	CHANGE, NEW_WA_ID, NEW_USER_ID, NEW_PARENT_ID, OLD_USER_ID, OLD_PARENT_ID,
	AT, WEBHOOK_AT,
	NTOLD
} Told;

static const char *const names[NTOLD] = {
	"phone_number_id", "display", "place",
	"wa_id", "user_id", "parent_user_id", "name", "username",
	"sender", "sender_user_id", "sender_parent_id",
	"addressee", "addressee_user_id", "addressee_parent_id",
	"thread_id", "thread_user_id", "thread_parent_id",
	"type", "direction", "call", "ad",
	"recipient", "recipient_user_id", "recipient_parent_id", "recipient_type",
	"member", "member_user_id", "member_parent_id", "group_id",
	"origin", "expiration",
	"change", "new_wa_id", "new_user_id", "new_parent_id", "old_user_id",
	"old_parent_id",
	"at", "webhook_at"
};

/* Columns of the rows that are made of correspondents; in the order of made_names[] */
typedef enum Made
{
	MADE_NUMBER, MADE_KEY, MADE_KIND,
	MADE_WA_ID, MADE_WA_ID_AT, MADE_PARENT_ID, MADE_PARENT_ID_AT,
	MADE_NAME, MADE_NAME_AT, MADE_USERNAME, MADE_USERNAME_AT,
	MADE_FIRST_SEEN, MADE_LAST_SEEN,
	MADE_MESSAGE_AT, MADE_INBOUND_AT, MADE_OUTBOUND_AT, MADE_REFERRAL_AT,
	MADE_FREE_UNTIL, MADE_BESIDE_AT,
	NMADE
} Made;

static const char *const made_names[NMADE] = {
	"phone_number_id", "contact_key", "kind",
	"wa_id", "wa_id_at", "parent_user_id", "parent_user_id_at",
	"name", "name_at", "username", "username_at",
	"first_seen", "last_seen",
	"last_message_at", "last_inbound_at", "last_outbound_at",
	"last_referral_at",
	"free_entry_until", "beside_at"
};

/* and of sightings; in the order of seen_names[] */
typedef enum Seen
{
	SEEN_NUMBER, SEEN_KEY, SEEN_KIND, SEEN_VALUE, SEEN_FIRST, SEEN_LAST,
	NSEEN
} Seen;

static const char *const seen_names[NSEEN] = {
	"phone_number_id", "contact_key", "kind", "value", "first_seen",
	"last_seen"
};

/* A row that is read */
typedef struct Sighting
{
	const Datum *values;
	const bool *nulls;
	JsonbContainer *source;
} Sighting;

/* A row that is made */
typedef struct MadeRow
{
	const int  *columns;
	Datum	   *values;
	bool	   *nulls;
} MadeRow;

/* Somebody, as far as is told: each NULL if it is not */
typedef struct Person
{
	text	   *wa_id;
	text	   *user_id;
	text	   *parent_id;
	text	   *name;
	text	   *username;
} Person;

/*
 * When something was told, or happened; each 0 if it was not or did not.  (0
 * is the year 2000, when there was no WhatsApp.)
 */
typedef struct Times
{
	TimestampTz first;			/* when it was told first, */
	TimestampTz at;				/* and last */
	TimestampTz message_at;		/* a message to or from them */
	TimestampTz inbound_at;		/* something that lets us answer */
	TimestampTz outbound_at;	/* an answer */
	TimestampTz referral_at;	/* they came from an ad */
	TimestampTz free_until;
	TimestampTz beside_at;		/* told only by what is beside it */
} Times;

/* When somebody did something in a value, to date what is told beside */
typedef struct Moment
{
	JsonbContainer *place;
	const text *id;
	bool		is_key;			/* that they go by, there */
	TimestampTz first;
	TimestampTz last;
} Moment;

typedef struct PeopleState
{
	const WaTable *tables;
	WaRows	   *rows;
	Moment	   *moments;		/* in order */
	int			nmoments;
} PeopleState;

/* Where the columns are in their tables, found once in a backend's life */
static int	told_columns[NTOLD];
static int	made_columns[NMADE];
static int	seen_columns[NSEEN];
static bool columns_are_found = false;

static void find_columns(const WaTable *table, const char *const *wanted,
						 int nwanted, int *columns);
static void find_moments(PeopleState *state);
static void add_moments(PeopleState *state, const Sighting *sighting,
						const Person *person);
static int	compare_moments(const void *a, const void *b);
static const Moment *find_moment(const PeopleState *state, const void *place,
								 const text *id, bool is_key);
static void meet(PeopleState *state, const Sighting *sighting);
static void meet_told(PeopleState *state, const Sighting *sighting);
static void meet_recipient(PeopleState *state, const Sighting *sighting);
static void meet_other_side(PeopleState *state, const Sighting *sighting);
static void meet_changed(PeopleState *state, const Sighting *sighting);
static Sighting sighting_at(const PeopleState *state, int r);
static const Datum *told(const Sighting *sighting,
						 Told what);
static text *told_text(const Sighting *sighting,
					   Told what);
static TimestampTz told_time(const Sighting *sighting, Told what);
static bool told_word(const Sighting *sighting,
					  Told what, const char *word);
static bool is_status(const Sighting *sighting);
static bool is_two_sided(const Sighting *sighting);
static bool is_change(const Sighting *sighting);
static bool is_ours(const Sighting *sighting);
static Person person_of(const Sighting *sighting);
static Person person_told(const Sighting *sighting,
						  Told wa_id, Told user_id, Told parent_id);
static void complete_by_thread(Person *person, Person thread);
static bool is_group(const Sighting *sighting,
					 const text *id);
static text *without_plus(text *wa_id);
static bool same_digits(const text *a, const text *b);
static bool same_text(const text *a, const text *b);
static void add_person(PeopleState *state, const Sighting *sighting,
					   const Person *person, const Times *times);
static void add_group(PeopleState *state, const Sighting *sighting,
					  const text *group_id, const Times *times);
static MadeRow add_correspondent(PeopleState *state, const Sighting *sighting,
								 const text *key, const char *kind,
								 const Times *times);
static void add_sighting(PeopleState *state, const Sighting *sighting,
						 const text *key, const char *kind, const text *value,
						 const Times *times);
static MadeRow add_row(PeopleState *state, const Sighting *sighting, int table,
					   const int *columns);
static TimestampTz first_of(const Times *times);
static void set_text(MadeRow *row, int column, const text *value);
static void set_time(MadeRow *row, int column, TimestampTz value);

/*
 * Make rows of those who are named in a webhook.  The rows that tell it are
 * used up.
 */
void
wa_people_meet(const WaTable *tables, WaRows *rows)
{
	PeopleState state = {.tables = tables,.rows = rows};
	int			nsightings = rows[WA_SIGHTINGS].nrows;

	if (nsightings == 0)
		return;
	if (!columns_are_found)
	{
		find_columns(&tables[WA_SIGHTINGS], names, NTOLD, told_columns);
		find_columns(&tables[WA_CORRESPONDENTS], made_names, NMADE,
					 made_columns);
		find_columns(&tables[WA_CONTACT_SIGHTINGS], seen_names, NSEEN,
					 seen_columns);
		columns_are_found = true;
	}

	find_moments(&state);
	for (int r = 0; r < nsightings; r++)
	{
		Sighting	sighting = sighting_at(&state, r);

		CHECK_FOR_INTERRUPTS();
		meet(&state, &sighting);
	}
	rows[WA_SIGHTINGS].nrows = 0;
}

static void
find_columns(const WaTable *table, const char *const *wanted, int nwanted,
			 int *columns)
{
	for (int i = 0; i < nwanted; i++)
		columns[i] = wa_table_column(table, wanted[i]);
}

/*
 * Find when those did something who did.
 */
static void
find_moments(PeopleState *state)
{
	int			nsightings = state->rows[WA_SIGHTINGS].nrows;
	int			n = 0;

	/* two for each */
	state->moments = palloc(sizeof(Moment) * nsightings * 2);
	for (int r = 0; r < nsightings; r++)
	{
		Sighting	sighting = sighting_at(state, r);
		Person		person;

		/* a message that tells of a change is none of theirs */
		if (is_change(&sighting) &&
			told(&sighting, CHANGE) != NULL)
			continue;
		person = person_of(&sighting);
		add_moments(state, &sighting, &person);
	}
	if (state->nmoments == 0)
		return;

	qsort(state->moments, state->nmoments, sizeof(Moment), compare_moments);
	for (int i = 1; i < state->nmoments; i++)
	{
		const Moment *moment = &state->moments[i];

		if (compare_moments(moment, &state->moments[n]) != 0)
			state->moments[++n] = *moment;
		state->moments[n].first = Min(state->moments[n].first, moment->first);
		state->moments[n].last = Max(state->moments[n].last, moment->last);
	}
	state->nmoments = n + 1;
}

static void
add_moments(PeopleState *state, const Sighting *sighting,
			const Person *person)
{
	const Datum *place = told(sighting, PLACE);
	Moment		moment = {
		.place = place ? (JsonbContainer *) DatumGetPointer(*place) : NULL,
		.id = person->user_id ? person->user_id : person->wa_id,
		.is_key = true,
		.first = told_time(sighting, AT)
	};

	moment.last = moment.first;
	if (moment.id == NULL || moment.first == 0)
		return;
	state->moments[state->nmoments++] = moment;
	if (person->user_id != NULL && person->wa_id != NULL)
	{
		moment.id = person->wa_id;
		moment.is_key = false;
		state->moments[state->nmoments++] = moment;
	}
}

/*
 * By place and id, those first that are keys.
 */
static int
compare_moments(const void *a, const void *b)
{
	const Moment *x = a;
	const Moment *y = b;
	int			x_len = VARSIZE_ANY_EXHDR(x->id);
	int			y_len = VARSIZE_ANY_EXHDR(y->id);

	if (x->place != y->place)
		return x->place < y->place ? -1 : 1;
	if (x->is_key != y->is_key)
		return x->is_key ? -1 : 1;
	if (x_len != y_len)
		return x_len < y_len ? -1 : 1;
	return memcmp(VARDATA_ANY(x->id), VARDATA_ANY(y->id), x_len);
}

/*
 * When did somebody do something in a value?  NULL if not at all.
 */
static const Moment *
find_moment(const PeopleState *state, const void *place, const text *id,
			bool is_key)
{
	Moment		wanted = {
		.place = (JsonbContainer *) place,.id = id,.is_key = is_key
	};

	if (id == NULL || state->nmoments == 0)
		return NULL;
	return bsearch(&wanted, state->moments, state->nmoments, sizeof(Moment),
				   compare_moments);
}

/*
 * Make rows of whom one place names.
 */
static void
meet(PeopleState *state, const Sighting *sighting)
{
	if (is_change(sighting))
		meet_changed(state, sighting);
	else if (is_status(sighting))
		meet_recipient(state, sighting);
	else if (is_two_sided(sighting))
		meet_other_side(state, sighting);
	else
		meet_told(state, sighting);
}

/*
 * Somebody is told of, without having done anything.
 */
static void
meet_told(PeopleState *state, const Sighting *sighting)
{
	const Datum *place = told(sighting, PLACE);
	const void *value = place ? DatumGetPointer(*place) : NULL;
	Person		person = person_of(sighting);
	Times		times = {.at = told_time(sighting, AT)};

	if (times.at == 0)
	{
		const Moment *moment = find_moment(state, value, person.user_id, true);

		if (moment == NULL)
			moment = find_moment(state, value, person.wa_id, true);
		if (moment == NULL)
			moment = find_moment(state, value, person.wa_id, false);
		times.first = moment ? moment->first : 0;
		times.at = moment ? moment->last :
			told_time(sighting, WEBHOOK_AT);
		times.beside_at = times.at;
	}
	add_person(state, sighting, &person, &times);
}

/*
 * A message has got somewhere with its recipient, or with a member of a group.
 */
static void
meet_recipient(PeopleState *state, const Sighting *sighting)
{
	Person		person = person_of(sighting);
	Times		times = {.at = told_time(sighting, AT)};

	if (told_word(sighting, ORIGIN, "referral_conversion"))
		times.free_until = told_time(sighting, EXPIRATION);
	add_person(state, sighting, &person, &times);
}

/*
 * A message or a call, from somebody to us or the other way round.
 */
static void
meet_other_side(PeopleState *state, const Sighting *sighting)
{
	Person		person = person_of(sighting);
	TimestampTz at = told_time(sighting, AT);
	bool		ours = is_ours(sighting);
	bool		is_call = told(sighting, CALL) != NULL ||
	told(sighting, DIRECTION) != NULL;
	bool		is_note = told_word(sighting, TYPE, "edit") ||
	told_word(sighting, TYPE, "revoke");
	bool		is_system = told_word(sighting, TYPE, "system");
	text	   *group_id = told_text(sighting, GROUP_ID);
	Times		times = {.at = at};
	Times		conversation = {.at = at};

	/* what is told of another message is none */
	if (!is_call && !is_note && !told_word(sighting, TYPE, "reaction"))
	{
		conversation.message_at = at;
		if (ours && !is_system)
			conversation.outbound_at = at;
	}
	if (!ours && !is_note && !is_system &&
		(!is_call || told_word(sighting, CALL, "connect") ||
		 told_word(sighting, CALL, "call_created")))
	{
		conversation.inbound_at = at;
		if (told(sighting, AD) != NULL)
			conversation.referral_at = at;
	}

	if (group_id != NULL)
	{
		add_group(state, sighting, group_id, &conversation);
		add_person(state, sighting, &person, &times);
	}
	else
		add_person(state, sighting, &person, &conversation);
}

/*
 * Somebody has other ids than before.  What stands beside the old phone number
 * may be the new BSUID.
 */
static void
meet_changed(PeopleState *state, const Sighting *sighting)
{
	Person		old = {0};
	Person		new = {0};
	TimestampTz at = told_time(sighting, AT);
	Times		times = {.at = at};
	bool		is_message = is_two_sided(sighting) ||
	told_word(sighting, TYPE, "system");

	/* as a message it is in a conversation if it is from somebody */
	if (is_two_sided(sighting))
		times.message_at = at;

	old.user_id = told_text(sighting, OLD_USER_ID);
	old.parent_id = told_text(sighting, OLD_PARENT_ID);
	if (is_message)
	{
		text	   *beside = told_text(sighting, SENDER_USER_ID);

		new = person_told(sighting, NEW_WA_ID, NEW_USER_ID,
						  NEW_PARENT_ID);
		old.wa_id = without_plus(told_text(sighting, SENDER));
		if (old.user_id == NULL && beside != NULL &&
			!(new.user_id != NULL && same_text(beside, new.user_id)))
			old.user_id = beside;
	}
	else
		new = person_told(sighting, WA_ID, USER_ID, PARENT_ID);
	add_person(state, sighting, &old, &times);
	add_person(state, sighting, &new, &times);
}

/*
 * What a row tells
 */

static Sighting
sighting_at(const PeopleState *state, int r)
{
	const WaRows *rows = &state->rows[WA_SIGHTINGS];
	int			ncolumns = state->tables[WA_SIGHTINGS].ncolumns;
	Sighting	sighting = {
		.values = &rows->values[r * ncolumns],
		.nulls = &rows->nulls[r * ncolumns],
		.source = rows->sources[r]
	};

	return sighting;
}

static const Datum *
told(const Sighting *sighting, Told what)
{
	int			i = told_columns[what];

	return sighting->nulls[i] ? NULL : &sighting->values[i];
}

static text *
told_text(const Sighting *sighting, Told what)
{
	const Datum *value = told(sighting, what);

	return value ? DatumGetTextPP(*value) : NULL;
}

static TimestampTz
told_time(const Sighting *sighting, Told what)
{
	const Datum *value = told(sighting, what);

	return value ? DatumGetTimestampTz(*value) : 0;
}

static bool
told_word(const Sighting *sighting, Told what,
		  const char *word)
{
	const text *value = told_text(sighting, what);

	return value != NULL && VARSIZE_ANY_EXHDR(value) == strlen(word) &&
		memcmp(VARDATA_ANY(value), word, strlen(word)) == 0;
}

static bool
is_status(const Sighting *sighting)
{
	return told(sighting, RECIPIENT) != NULL ||
		told(sighting, RECIPIENT_USER_ID) != NULL ||
		told(sighting, MEMBER) != NULL ||
		told(sighting, MEMBER_USER_ID) != NULL;
}

static bool
is_two_sided(const Sighting *sighting)
{
	return told(sighting, SENDER) != NULL ||
		told(sighting, SENDER_USER_ID) != NULL ||
		told(sighting, ADDRESSEE) != NULL ||
		told(sighting, ADDRESSEE_USER_ID) != NULL;
}

static bool
is_change(const Sighting *sighting)
{
	return told_word(sighting, CHANGE, "user_changed_number") ||
		told_word(sighting, CHANGE, "user_changed_user_id") ||
		told_word(sighting, CHANGE, "customer_changed_number") ||
		(told(sighting, OLD_USER_ID) != NULL &&
		 !is_two_sided(sighting));
}

/*
 * Is a message or call from us?  Our number is told; without it, who is
 * addressed is not us, as Meta does not say that of what comes to us.
 */
static bool
is_ours(const Sighting *sighting)
{
	const text *display = told_text(sighting, DISPLAY);

	if (same_digits(told_text(sighting, SENDER), display))
		return true;
	if (same_digits(told_text(sighting, ADDRESSEE), display))
		return false;
	if (told(sighting, DIRECTION) != NULL)
		return told_word(sighting, DIRECTION, "BUSINESS_INITIATED");
	return told(sighting, ADDRESSEE) != NULL ||
		told(sighting, ADDRESSEE_USER_ID) != NULL;
}

/*
 * Who is named in a row, other than by a change?
 */
static Person
person_of(const Sighting *sighting)
{
	Person		person;

	if (is_status(sighting))
	{
		Person		member = person_told(sighting, MEMBER,
										 MEMBER_USER_ID, MEMBER_PARENT_ID);

		person = person_told(sighting, RECIPIENT, RECIPIENT_USER_ID,
							 RECIPIENT_PARENT_ID);
		if (member.wa_id != NULL || member.user_id != NULL)
			return member;
		if (told_word(sighting, RECIPIENT_TYPE, "group"))
			person.wa_id = NULL;
		return person;
	}
	if (!is_two_sided(sighting))
	{
		person = person_told(sighting, WA_ID, USER_ID, PARENT_ID);
		person.name = told_text(sighting, NAME);
		person.username = told_text(sighting, USERNAME);
		return person;
	}

	if (is_ours(sighting))
	{
		person = person_told(sighting, ADDRESSEE, ADDRESSEE_USER_ID,
							 ADDRESSEE_PARENT_ID);
		if (told_word(sighting, RECIPIENT_TYPE, "group"))
			person.wa_id = NULL;
	}
	else
		person = person_told(sighting, SENDER, SENDER_USER_ID,
							 SENDER_PARENT_ID);
	complete_by_thread(&person, person_told(sighting, THREAD_ID,
											THREAD_USER_ID, THREAD_PARENT_ID));
	return person;
}

/*
 * In a history, the thread tells what the message does not.  It is of the same
 * person, but they may have another phone number by now.
 */
static void
complete_by_thread(Person *person, Person thread)
{
	bool		other_phone = person->wa_id != NULL && thread.wa_id != NULL &&
	!same_text(person->wa_id, thread.wa_id);
	bool		other_user = person->user_id != NULL &&
	thread.user_id != NULL && !same_text(person->user_id, thread.user_id);

	if (person->wa_id == NULL && !other_user)
		person->wa_id = thread.wa_id;
	if (person->user_id == NULL && thread.user_id != NULL)
	{
		person->user_id = thread.user_id;
		if (other_phone)
			person->wa_id = NULL;
	}
	if (person->parent_id == NULL && !other_user)
		person->parent_id = thread.parent_id;
}

/*
 * Somebody who is told by three columns.
 */
static Person
person_told(const Sighting *sighting, Told wa_id,
			Told user_id, Told parent_id)
{
	Person		person = {
		.wa_id = without_plus(told_text(sighting, wa_id)),
		.user_id = told_text(sighting, user_id),
		.parent_id = told_text(sighting, parent_id)
	};

	/* we are nobody, nor is a group */
	if (same_digits(person.wa_id, told_text(sighting, DISPLAY)) ||
		is_group(sighting, person.wa_id))
		person.wa_id = NULL;
	if (is_group(sighting, person.user_id))
		person.user_id = NULL;
	return person;
}

/*
 * Is an identifier that of the group that is told, or can it be none of a
 * person, as keys of groups begin like it?
 */
static bool
is_group(const Sighting *sighting, const text *id)
{
	const text *group_id = told_text(sighting, GROUP_ID);

	if (id == NULL)
		return false;
	return (group_id != NULL && same_text(id, group_id)) ||
		(VARSIZE_ANY_EXHDR(id) >= strlen(WA_GROUP_PREFIX) &&
		 memcmp(VARDATA_ANY(id), WA_GROUP_PREFIX, strlen(WA_GROUP_PREFIX)) == 0);
}

/*
 * A WhatsApp id is told with or without the + of a phone number.
 */
static text *
without_plus(text *wa_id)
{
	int			len = wa_id ? VARSIZE_ANY_EXHDR(wa_id) : 0;

	if (len == 0 || VARDATA_ANY(wa_id)[0] != '+')
		return wa_id;
	return len == 1 ? NULL :
		cstring_to_text_with_len(VARDATA_ANY(wa_id) + 1, len - 1);
}

/*
 * Are these one phone number?  Not if either is none.
 */
static bool
same_digits(const text *a, const text *b)
{
	const char *x = a ? VARDATA_ANY(a) : "";
	const char *y = b ? VARDATA_ANY(b) : "";
	const char *x_end = x + (a ? VARSIZE_ANY_EXHDR(a) : 0);
	const char *y_end = y + (b ? VARSIZE_ANY_EXHDR(b) : 0);
	int			ndigits = 0;

	for (;; ndigits++, x++, y++)
	{
		while (x < x_end && (*x < '0' || *x > '9'))
			x++;
		while (y < y_end && (*y < '0' || *y > '9'))
			y++;
		if (x == x_end || y == y_end)
			return x == x_end && y == y_end && ndigits > 0;
		if (*x != *y)
			return false;
	}
}

static bool
same_text(const text *a, const text *b)
{
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

/*
 * The rows that are made
 */

static void
add_person(PeopleState *state, const Sighting *sighting, const Person *person,
		   const Times *times)
{
	text	   *key = person->user_id ? person->user_id : person->wa_id;
	MadeRow		row;

	if (key == NULL)
		return;
	row = add_correspondent(state, sighting, key,
							person->user_id ? "user_id" : "wa_id", times);
	set_text(&row, MADE_WA_ID, person->wa_id);
	set_text(&row, MADE_PARENT_ID, person->parent_id);
	set_text(&row, MADE_NAME, person->name);
	set_text(&row, MADE_USERNAME, person->username);
	if (person->wa_id)
		set_time(&row, MADE_WA_ID_AT, times->at);
	if (person->parent_id)
		set_time(&row, MADE_PARENT_ID_AT, times->at);
	if (person->name)
		set_time(&row, MADE_NAME_AT, times->at);
	if (person->username)
		set_time(&row, MADE_USERNAME_AT, times->at);

	/* the key itself is seen whenever the row is */
	if (person->user_id != NULL)
		add_sighting(state, sighting, key, "wa_id", person->wa_id, times);
	add_sighting(state, sighting, key, "parent_user_id", person->parent_id,
				 times);
	add_sighting(state, sighting, key, "username", person->username, times);
}

/*
 * A group is another side, too.
 */
static void
add_group(PeopleState *state, const Sighting *sighting, const text *group_id,
		  const Times *times)
{
	add_correspondent(state, sighting,
					  cstring_to_text(psprintf(WA_GROUP_PREFIX "%s",
											   text_to_cstring(group_id))),
					  "group", times);
}

static MadeRow
add_correspondent(PeopleState *state, const Sighting *sighting,
				  const text *key, const char *kind, const Times *times)
{
	MadeRow		row = add_row(state, sighting, WA_CORRESPONDENTS, made_columns);

	set_text(&row, MADE_NUMBER, told_text(sighting, NUMBER));
	set_text(&row, MADE_KEY, key);
	set_text(&row, MADE_KIND, cstring_to_text(kind));
	set_time(&row, MADE_FIRST_SEEN, first_of(times));
	set_time(&row, MADE_LAST_SEEN, times->at);
	set_time(&row, MADE_MESSAGE_AT, times->message_at);
	set_time(&row, MADE_INBOUND_AT, times->inbound_at);
	set_time(&row, MADE_OUTBOUND_AT, times->outbound_at);
	set_time(&row, MADE_REFERRAL_AT, times->referral_at);
	set_time(&row, MADE_FREE_UNTIL, times->free_until);
	set_time(&row, MADE_BESIDE_AT, times->beside_at);
	return row;
}

static void
add_sighting(PeopleState *state, const Sighting *sighting, const text *key,
			 const char *kind, const text *value, const Times *times)
{
	MadeRow		row;

	if (value == NULL)
		return;
	row = add_row(state, sighting, WA_CONTACT_SIGHTINGS, seen_columns);
	set_text(&row, SEEN_NUMBER, told_text(sighting, NUMBER));
	set_text(&row, SEEN_KEY, key);
	set_text(&row, SEEN_KIND, cstring_to_text(kind));
	set_text(&row, SEEN_VALUE, value);
	set_time(&row, SEEN_FIRST, first_of(times));
	set_time(&row, SEEN_LAST, times->at);
}

static MadeRow
add_row(PeopleState *state, const Sighting *sighting, int table,
		const int *columns)
{
	WaRows	   *rows = &state->rows[table];
	int			ncolumns = state->tables[table].ncolumns;
	int			r = wa_rows_add(rows, ncolumns, sighting->source);
	MadeRow		row = {
		.columns = columns,
		.values = &rows->values[r * ncolumns],
		.nulls = &rows->nulls[r * ncolumns]
	};

	return row;
}

static TimestampTz
first_of(const Times *times)
{
	return times->first ? times->first : times->at;
}

static void
set_text(MadeRow *row, int column, const text *value)
{
	int			i = row->columns[column];

	row->nulls[i] = value == NULL;
	row->values[i] = PointerGetDatum(value);
}

static void
set_time(MadeRow *row, int column, TimestampTz value)
{
	int			i = row->columns[column];

	row->nulls[i] = value == 0;
	row->values[i] = TimestampTzGetDatum(value);
}
