'use strict';

/*
 * A simulator of Meta's Graph API, as far as sending WhatsApp messages goes.
 * Tests, the demo and the benchmarks send to it instead of to Meta.
 *
 *	node test/graph.js --token T [--token T2] [--secret APP_SECRET --webhook URL]
 *	                   [--log FILE] [--port N] [--key FILE --cert FILE]
 *
 * It listens on 127.0.0.1 only, by default on a free port, and then prints one
 * line, "listening on PORT". With a key and a certificate, it speaks TLS there,
 * and HTTP/2 or HTTP/1.1 as the client likes; a line before that, "control on
 * PORT", says where it can be had without. SIGTERM or SIGINT ends it at once,
 * status 0.
 *
 *
 * What it answers, as Meta does
 *
 *	POST /vN.N/PHONE_NUMBER_ID/messages
 *	POST /vN.N/PHONE_NUMBER_ID/marketing_messages
 *
 * These checks are made in order, before any script is looked at: the bearer
 * token is one of --token (401, code 190); the path is one of the two (400,
 * code 100, subcode 33); the body is a JSON object with messaging_product
 * "whatsapp" (400, code 100); it has "to" or "recipient" (400, code 100); it
 * has the object its type names, "text" if it names none (400, code 131008).
 * A call with status "read" (and perhaps a typing indicator) needs only the
 * first three, and is answered {"success":true}.
 *
 * With --webhook, a message that was answered with success is followed by the
 * status webhooks sent, delivered and read: one POST each, signed with
 * --secret, each after the former was answered 200. What is not answered 200 is
 * posted again every 200 ms, at most 50 times more; then the message's
 * remaining statuses are posted all the same. Only a BSUID put into "to" never
 * has a status unless a script names some: Meta takes it and delivers nothing.
 *
 *
 * Scripts: what happens to whom
 *
 *	POST /_script {"recipient": "+1 555 010 7788", ...behaviour}
 *	DELETE /_script		removes all of them
 *
 * A recipient is compared with "to" or "recipient" after removing everything
 * but letters, digits and dots; a read call goes by its message_id. "*" is for
 * all that have no script of their own. A new script replaces the former one
 * of the same recipient. An unknown key is refused with 400. Behaviour keys:
 *
 *	times N			the script is for the next N requests, then it is gone
 *
 *	delay_ms N		wait before anything else
 *	hold true		then wait until released
 *	status_first true	then post the status webhooks, and answer after them
 *
 *	error {code, http_status, message, details, subcode, is_transient}
 *				an error envelope; only code is needed; status 400
 *	raw "..."		this body, as it is
 *	html true		a page "Bad Gateway", status 502
 *	empty true		a success without "messages"
 *	http_status N		another status for whatever is answered
 *	retry_after N		a Retry-After header with it, in seconds
 *	usage "..."		an X-App-Usage header with it
 *	location "..."		a Location header with it
 *	echo true		in the answer and the usage, $TOKEN is the bearer token of
 *				the request, $SPELT the same in escapes of JSON, and
 *				$QUERY the query of its URL
 *
 *	never true		no answer; the connection stays open
 *	close true		the request is read whole, then the connection closed
 *	close_reused true	the same, but the first request on a connection is
 *				none of this script's business, and not counted
 *	reset true		the same as close, with a TCP reset; not over TLS
 *	half true		the headers, half of the body, then closed
 *	refuse true		of HTTP/2: the stream is refused, as not looked at
 *	goaway true		of HTTP/2: the connection is closed, and this stream
 *				was not looked at
 *	goaway_last true	of HTTP/2: the connection is closed, and this stream
 *				was the last that was looked at; no answer
 *	break true		of HTTP/2: the stream is broken off by an error
 *	break_last true	of HTTP/2: the same, after the whole answer
 *
 *	statuses [...]		these statuses, in this order; [] is none
 *	status_error N		the code in a status "failed" (131026)
 *	status_times N		each status webhook is posted so many times, alike
 *
 * One key of each group may be combined with those of the others: the waiting
 * comes first, then an answer is made, then it is sent or not; of two keys in
 * one group the one that stands first here wins (of the waiting, all are
 * done). Statuses follow on a whole success, and on anything else if the
 * script says "statuses" or "status_first": {"close": true, "statuses":
 * ["sent"]} is a message that was taken although nobody was told.
 *
 *
 * Control
 *
 *	POST /_release		answers all that are held, or those of {"recipient"};
 *				gives {"released": N}
 *	POST /_reset		removes all scripts, empties the logs, sets the counts
 *				to zero, gives up webhooks that are not answered yet.
 *				What is held stays held. "n" goes on counting
 *	POST /_tokens		{"tokens": [...]}: these are good from now on, instead of
 *				those of --token
 *	GET /_log		all requests to a graph path, as a JSON array
 *	GET /_count		{requests, accepted, in_flight, max_in_flight,
 *				webhooks_pending}: accepted are the messages with a
 *				wamid, pending the messages with webhooks to come
 *	GET /_webhooks		the status webhooks posted: {at, recipient, wamid,
 *				status, tries, http_status}, 0 if there was no answer
 *	POST /_webhook		{"body": {...}} or {"raw": "..."}: signed and posted to
 *				--webhook once; gives {status, body}, or {status: 0,
 *				error}. "signature" replaces the header, null leaves
 *				it out
 *
 * GET /_log and /_count take ?recipient=; a "+" in it is not needed.
 *
 * One request in the log, in memory from its arrival, in --log (one line each)
 * when its outcome is known or the simulator ends: n; at, milliseconds since
 * 1970 with fractions; path; query, what the URL has behind it, if anything;
 * phone_number_id; authorized; to; type; connection, a number; nth request on
 * it; http_version; outcome; wamid, if the message was taken; gone, true if the
 * client left before the answer; body, parsed, or a string if it is not JSON.
 * The outcome is "waiting" or "held", and in the end "ok", "empty", "raw",
 * "html 502", "error 131026", "never", "closed", "reset", "half", "refused",
 * "goaway" or "broken". The token is in no log.
 */

const http = require('node:http');
const http2 = require('node:http2');
const fs = require('node:fs');
const { createHmac, randomFillSync } = require('node:crypto');

const GRAPH_PATH = /^\/(v\d+\.\d+)\/(\d+)\/(messages|marketing_messages)$/;
const ANY_VERSION = /^\/(v\d+\.\d+)\//;
const JSON_TYPE = 'application/json; charset=UTF-8';
const KEEP_ALIVE_MS = 60_000;
const WEBHOOK_TIMEOUT_MS = 30_000;
const WEBHOOK_RETRY_MS = 200;
const WEBHOOK_RETRIES = 50;
const WEBHOOK_CONNECTIONS = 100;
const DEFAULT_STATUSES = ['sent', 'delivered', 'read'];

/* The account the status webhooks come from, and one member of every group. */
const WABA_ID = '900100200300400';
const DISPLAY_PHONE_NUMBER = '15550100200';
const PARTICIPANT = '15550107788';
const PROFILE = { name: 'Zoë / Test 👋' };

/* Meta's titles of the codes that tests use most. */
const TITLES = {
	4: 'Application request limit reached',
	190: 'Error validating access token',
	80007: 'Rate limit issues',
	130429: 'Rate limit hit',
	131000: 'Something went wrong',
	131008: 'Required parameter is missing',
	131016: 'Service unavailable',
	131026: 'Message undeliverable',
	131042: 'Business eligibility payment issue',
	131047: 'Re-engagement message',
	131048: 'Spam rate limit hit',
	131049: 'Message not delivered to maintain healthy ecosystem engagement',
	131056: '(Business Account, Consumer Account) pair rate limit hit',
	132001: 'Template name does not exist in the translation',
	132015: 'Template is paused',
};

/* The keys of a script and what they must be. */
const SCRIPT_KEYS = {
	recipient: 'string',
	times: 'number',
	delay_ms: 'number',
	hold: 'boolean',
	status_first: 'boolean',
	error: 'object',
	raw: 'string',
	html: 'boolean',
	empty: 'boolean',
	http_status: 'number',
	retry_after: 'number',
	usage: 'string',
	location: 'string',
	echo: 'boolean',
	never: 'boolean',
	close: 'boolean',
	close_reused: 'boolean',
	reset: 'boolean',
	half: 'boolean',
	refuse: 'boolean',
	goaway: 'boolean',
	goaway_last: 'boolean',
	break: 'boolean',
	break_last: 'boolean',
	statuses: 'array',
	status_error: 'number',
	status_times: 'number',
};

const NO_SCRIPT = Object.freeze({});

/*
 * State. What POST /_reset empties is above the line.
 */
let calls = [];				/* all requests to a graph path */
let webhooks = [];			/* all status webhooks */
let accepted = 0;
let maxInFlight = 0;
let era = 0;				/* webhooks of a former era are given up */
const scripts = new Map();

let inFlight = 0;
let webhooksPending = 0;
let lastNumber = 0;			/* of a request */
let lastConnection = 0;
let lastMoment = 0;			/* orders beginnings and ends of requests */
let lastStatusSecond = 0;
const sockets = new Map();		/* by the number of the connection */
const held = new Set();
const unsettled = new Set();		/* waiting requests, not in the file yet */
const unwritten = [];			/* lines for the file */

const options = readOptions(process.argv.slice(2));
let bearers = bearersOf(options.token);
const logFile = options.log && fs.openSync(options.log, 'a');
const webhookAgent = new http.Agent({ keepAlive: true, maxSockets: WEBHOOK_CONNECTIONS });

function bearersOf(tokens) {
	return new Set(tokens.map(token => `Bearer ${token}`));
}

/* Reads the command line; --token may be repeated. */
function readOptions(args) {
	const read = { token: [], secret: [], webhook: [], log: [], port: [], key: [], cert: [] };

	for (let i = 0; i < args.length; i += 2) {
		const name = args[i].replace(/^--/, '');

		if (name === args[i] || !Object.hasOwn(read, name) || args[i + 1] === undefined)
			usage(`bad option ${args[i]}`);
		read[name].push(args[i + 1]);
	}
	if (read.token.length === 0)
		usage('--token is needed');
	if (read.webhook.length !== read.secret.length)
		usage('--webhook and --secret go together');
	if (read.key.length !== read.cert.length)
		usage('--key and --cert go together');

	const last = name => read[name].at(-1);
	const port = Number(last('port') ?? 0);

	if (!(port >= 0 && port < 65536))
		usage('bad --port');
	return {
		token: read.token, secret: last('secret'), webhook: last('webhook'), log: last('log'), port,
		key: last('key'), cert: last('cert'),
	};
}

function usage(complaint) {
	process.stderr.write(`graph.js: ${complaint}\n`
		+ 'usage: node graph.js --token T [--token T2] [--secret APP_SECRET --webhook URL] [--log FILE] [--port N]'
		+ ' [--key FILE --cert FILE]\n');
	process.exit(2);
}

/*
 * Small things.
 */

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms));
const now = () => Math.round((performance.timeOrigin + performance.now()) * 1000) / 1000;
const isObject = value => typeof value === 'object' && value !== null;
const simplify = recipient => String(recipient).replace(/[^\p{L}\p{Nd}.]/gu, '');

/* Parses JSON; undefined if it is none. */
function parse(text) {
	try {
		return JSON.parse(text);
	} catch {
		return undefined;
	}
}

const pool = Buffer.alloc(24 * 1024);
let poolUsed = pool.length;

/* Random bytes as text, from a pool because asking for few is slow. */
function random(bytes, encoding) {
	if (poolUsed + bytes > pool.length) {
		randomFillSync(pool);
		poolUsed = 0;
	}
	poolUsed += bytes;
	return pool.toString(encoding, poolUsed - bytes, poolUsed);
}

const traceId = () => `A${random(16, 'base64url')}`;
const newWamid = () => `wamid.${random(30, 'base64')}`;

/* JSON as Meta puts it on the wire: pure ASCII, slashes escaped. */
function wire(value) {
	return JSON.stringify(value)
		.replace(/[\u0080-\uffff]/g, unit => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
		.replaceAll('/', '\\/');
}

const sign = text => `sha256=${createHmac('sha256', options.secret).update(text).digest('hex')}`;

/*
 * One request to a graph path. The fields up to "outcome" are what the log
 * needs; the answer and the parsed body are let go when the request is done.
 */
class Call {
	constructor(req, res, at, text) {
		const [path, query] = req.url.split('?', 2);
		const [, version, phoneNumberId, edge] = GRAPH_PATH.exec(path) ?? [];
		const body = parse(text);

		this.n = ++lastNumber;
		this.at = at;
		this.method = req.method;
		this.path = path;
		this.query = query;
		this.version = version ?? ANY_VERSION.exec(path)?.[1];
		this.phoneNumberId = phoneNumberId;
		this.edge = req.method === 'POST' ? edge : undefined;
		this.token = req.headers.authorization?.replace(/^Bearer /, '') ?? '';
		this.authorized = bearers.has(req.headers.authorization);
		this.connection = req.socket.number;
		this.nth = req.nth;
		this.httpVersion = req.httpVersion;
		this.text = text;
		this.isJson = body !== undefined;
		this.isRead = body?.status === 'read';
		this.address = body?.to ?? body?.recipient;		/* "to" wins, as with Meta */
		this.subject = this.isRead ? body.message_id : this.address;
		this.type = this.isRead || !isObject(body) ? undefined : body.type ?? 'text';
		this.wamid = undefined;
		this.gone = undefined;
		this.began = ++lastMoment;
		this.ended = undefined;
		this.outcome = 'waiting';
		this.body = body;
		this.res = res;
	}

	/* What scripts and counts go by. */
	get key() {
		return simplify(this.subject ?? '');
	}

	get isGroup() {
		return this.body.recipient_type === 'group';
	}

	get isByUserId() {
		return this.body.to == null;
	}

	forget() {
		this.body = undefined;
		this.res = undefined;
	}

	/* The line for the log. */
	toLine() {
		const head = JSON.stringify({
			n: this.n, at: this.at, path: this.path, query: this.query, phone_number_id: this.phoneNumberId,
			authorized: this.authorized, to: this.address, type: this.type, connection: this.connection,
			nth: this.nth, http_version: this.httpVersion, outcome: this.outcome, wamid: this.wamid, gone: this.gone,
		});

		return `${head.slice(0, -1)},"body":${this.bodyForLine()}}`;
	}

	/* JSON goes in as it came, if it fits in a line. */
	bodyForLine() {
		if (!this.isJson)
			return JSON.stringify(this.text);
		return /[\r\n]/.test(this.text) ? JSON.stringify(parse(this.text)) : this.text;
	}
}

/* The call is in flight from here to end(). */
function begin(call) {
	calls.push(call);
	inFlight += 1;
	if (inFlight > maxInFlight)
		maxInFlight = inFlight;
}

/* The client has its answer, or has left. */
function end(call) {
	if (call.ended !== undefined)
		return;
	call.ended = ++lastMoment;
	inFlight -= 1;
}

/* The outcome is known. */
function settle(call, outcome) {
	call.outcome = outcome;
	unsettled.delete(call);
	if (logFile === undefined)
		return;
	if (unwritten.length === 0)
		setImmediate(writeLog);
	unwritten.push(call.toLine());
}

function writeLog() {
	if (unwritten.length > 0)
		fs.appendFileSync(logFile, `${unwritten.join('\n')}\n`);
	unwritten.length = 0;
}

/* A call that is not answered in the same moment: its client may leave first. */
function watch(call) {
	unsettled.add(call);
	call.res.once('close', () => {
		if (call.ended === undefined)
			call.gone = true;
		end(call);
	});
}

/*
 * What Meta refuses, in its order.
 */
const REFUSALS = [
	{
		when: call => !call.authorized,
		status: 401,
		error: () => ({ code: 190, message: 'Invalid OAuth access token - Cannot parse access token' }),
	},
	{
		when: call => call.edge === undefined,
		status: 400,
		error: call => ({
			code: 100, subcode: 33, type: 'GraphMethodException',
			message: `Unsupported ${call.method.toLowerCase()} request. Object with ID '${call.path.split('/')[2] ?? ''}'`
				+ ' does not exist, cannot be loaded due to missing permissions, or does not support this operation.',
		}),
	},
	{
		when: call => !isObject(call.body),
		status: 400,
		error: () => ({ code: 100, message: '(#100) Invalid parameter', details: 'The body is not a JSON object.' }),
	},
	{
		when: call => call.body.messaging_product !== 'whatsapp',
		status: 400,
		error: () => ({ code: 100, message: '(#100) The parameter messaging_product is required.' }),
	},
	{
		when: call => !call.isRead && !call.address,
		status: 400,
		error: () => ({ code: 100, message: '(#100) The parameter to is required.' }),
	},
	{
		when: call => !call.isRead && !(Object.hasOwn(call.body, call.type) && isObject(call.body[call.type])),
		status: 400,
		error: call => ({ code: 131008, details: `Parameter '${call.type}' is mandatory for type '${call.type}'` }),
	},
];

/* A script's error, or one of our own, in Meta's envelope. */
function errorEnvelope({ code, message, type, details, subcode, is_transient }) {
	return {
		error: {
			message: message ?? `(#${code}) ${TITLES[code] ?? 'Unknown error'}`,
			type: type ?? 'OAuthException',
			code,
			error_data: details === undefined ? undefined : { messaging_product: 'whatsapp', details },
			error_subcode: subcode,
			is_transient,
			fbtrace_id: traceId(),
		},
	};
}

/*
 * What Meta answers to a message it takes.
 */
function success(call) {
	return call.isRead ? { success: true } : {
		messaging_product: 'whatsapp',
		contacts: [answeredContact(call)],
		messages: [{
			id: call.wamid,
			group_id: call.isGroup ? call.address : undefined,
			message_status: call.type === 'template' ? 'accepted' : undefined,
		}],
	};
}

function answeredContact(call) {
	const input = call.address;

	if (call.isByUserId)
		return { input, user_id: input };
	return { input, wa_id: recipientId(call) };
}

/* The form of a recipient that Meta uses afterwards. */
function recipientId(call) {
	return call.isGroup ? call.body.to : String(call.body.to).replace(/\D/g, '');
}

/*
 * How an answer is made: the first key that the script has, else a success.
 */
const ANSWERS = {
	error: (call, { error }) => ({
		outcome: `error ${error.code}`, status: error.http_status ?? 400, body: JSON.stringify(errorEnvelope(error)),
	}),
	raw: (call, { raw }) => ({ outcome: 'raw', status: 200, body: raw }),
	html: (call, { http_status = 502 }) => ({
		outcome: `html ${http_status}`, status: 502, type: 'text/html; charset=utf-8',
		body: '<!DOCTYPE html>\n<html><head><title>Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>\n',
	}),
	empty: call => ({ outcome: 'empty', status: 200, body: JSON.stringify({ ...success(call), messages: undefined }) }),
	success: call => ({ outcome: 'ok', status: 200, body: JSON.stringify(success(call)) }),
};

/*
 * How an answer reaches the client, or does not: again the first key counts.
 * Each gives the outcome.
 */
const DELIVERIES = {
	never: () => 'never',
	close: closed,
	close_reused: closed,
	reset: call => {
		socketOf(call)?.resetAndDestroy();
		return 'reset';
	},
	half: (call, answer, headers) => {
		const bytes = Buffer.from(answer.body);

		call.res.writeHead(answer.status, headers);
		call.res.write(bytes.subarray(0, bytes.length >> 1), () => socketOf(call)?.destroy());
		return 'half';
	},
	refuse: ({ res }) => {
		res.stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
		return 'refused';
	},
	goaway: ({ res }) => {
		const { session, id } = res.stream;

		session.goaway(http2.constants.NGHTTP2_NO_ERROR, id - 2);
		return 'goaway';
	},
	goaway_last: call => {
		const { session, id } = call.res.stream;

		session.goaway(http2.constants.NGHTTP2_NO_ERROR, id);
		setTimeout(() => socketOf(call)?.destroy(), 100);
		return 'goaway';
	},
	break: ({ res }) => {
		res.stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
		return 'broken';
	},
	break_last: ({ res }, answer, headers) => {
		// with a length, its end is no matter of the stream's
		const { 'Content-Length': _, ...others } = headers;

		res.writeHead(answer.status, others);
		res.write(answer.body, () => res.stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR));
		return answer.outcome;
	},
	whole: ({ res }, answer, headers) => {
		res.writeHead(answer.status, headers);
		res.end(answer.body);
		return answer.outcome;
	},
};

function closed(call) {
	socketOf(call)?.destroy();
	return 'closed';
}

/* The connection itself: what a stream of HTTP/2 calls its socket is not that. */
function socketOf({ connection }) {
	return sockets.get(connection);
}

/* The name of the first key of a table that the script sets. */
function choose(table, script, otherwise) {
	if (script === NO_SCRIPT)
		return otherwise;
	return Object.keys(table).find(key => (script[key] ?? false) !== false) ?? otherwise;
}

/* A text of a script, with what the request came with if it wants that. */
function echo(text, script, { token, query = '' }) {
	if (!script.echo)
		return text;

	const spelt = token.replace(/./g, c => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);

	return text.replaceAll('$TOKEN', () => token).replaceAll('$SPELT', () => spelt).replaceAll('$QUERY', () => query);
}

/* Makes the answer and sends it, or not. */
function deliver(call, script) {
	const answer = ANSWERS[choose(ANSWERS, script, 'success')](call, script);
	const body = echo(answer.body, script, call);
	const headers = {
		'Content-Type': answer.type ?? JSON_TYPE,
		'Content-Length': Buffer.byteLength(body),
		'x-fb-trace-id': traceId(),
	};

	if (call.version !== undefined)
		headers['facebook-api-version'] = call.version;
	if (script.retry_after !== undefined)
		headers['Retry-After'] = script.retry_after;
	if (script.usage !== undefined)
		headers['X-App-Usage'] = echo(script.usage, script, call);
	if (script.location !== undefined)
		headers.Location = script.location;
	if (script.http_status !== undefined && !script.error?.http_status)
		answer.status = script.http_status;
	settle(call, DELIVERIES[choose(DELIVERIES, script, 'whole')](call, { ...answer, body }, headers));
	if (call.outcome !== 'never')
		end(call);
}

/* Answers one request to a graph path, on the shortest way if there is no script. */
async function onGraph(req, res, at, text) {
	const call = new Call(req, res, at, text);

	begin(call);

	const refusal = REFUSALS.find(({ when }) => when(call));
	const script = refusal || scripts.size === 0 ? NO_SCRIPT : takeScript(call);

	if (refusal) {
		deliver(call, { error: { http_status: refusal.status, ...refusal.error(call) } });
	} else if (script !== NO_SCRIPT) {
		await perform(call, script);
	} else {
		take(call);
		deliver(call, NO_SCRIPT);
		if (options.webhook && !call.isRead && !isLost(call))
			await report(call, NO_SCRIPT);
	}
	call.forget();
}

/* The script for this call, once less. */
function takeScript(call) {
	const key = scripts.has(call.key) ? call.key : '*';
	const script = scripts.get(key) ?? NO_SCRIPT;

	if (script.close_reused && call.nth === 1)
		return NO_SCRIPT;
	if (script.times !== undefined && --script.times === 0)
		scripts.delete(key);
	return script;
}

/* Answers as the script says: the waiting, the answer, the statuses. */
async function perform(call, script) {
	const answer = choose(ANSWERS, script, 'success');
	const delivery = choose(DELIVERIES, script, 'whole');
	const named = script.statuses !== undefined || script.status_first;
	const reported = !call.isRead && (named || (answer === 'success' && delivery === 'whole' && !isLost(call)));

	if (reported || (answer === 'success' && ['whole', 'half', 'break_last'].includes(delivery)))
		take(call);
	watch(call);
	if (script.delay_ms)
		await sleep(script.delay_ms);
	if (script.hold)
		await hold(call);
	if (script.status_first && reported)
		await report(call, script);
	deliver(call, script);
	if (!script.status_first && reported)
		await report(call, script);
}

/* The message exists from here on. */
function take(call) {
	if (call.isRead)
		return;
	call.wamid = newWamid();
	accepted += 1;
}

function hold(call) {
	call.outcome = 'held';
	return new Promise(resolve => {
		call.release = resolve;
		held.add(call);
	});
}

/* A BSUID sent as "to": taken, and never heard of again. */
function isLost(call) {
	return !call.isByUserId && !call.isGroup && /[A-Za-z]/.test(call.body.to);
}

/*
 * Status webhooks.
 */

/* Posts a message's status webhooks, one after the other, until a reset. */
async function report(call, script) {
	const statuses = script.statuses ?? DEFAULT_STATUSES;
	const itsEra = era;

	if (!options.webhook)
		return;
	webhooksPending += 1;
	for (let i = 0; i < statuses.length && era === itsEra; i++)
		await reportStatus(call, statuses[i], script);
	webhooksPending -= 1;
}

async function reportStatus(call, status, { status_error, status_times = 1 }) {
	const text = wire(statusWebhook(call, status, status_error));
	const itsEra = era;

	for (let i = 0; i < status_times && era === itsEra; i++)
		await postUntilTaken(call, status, text);
}

/* Posts a webhook until it is answered 200, and logs how that went. */
async function postUntilTaken(call, status, text) {
	const entry = { at: now(), recipient: call.address, wamid: call.wamid, status, tries: 0, http_status: 0 };
	const itsEra = era;

	webhooks.push(entry);
	while (entry.http_status !== 200 && entry.tries <= WEBHOOK_RETRIES && era === itsEra) {
		if (entry.tries > 0)
			await sleep(WEBHOOK_RETRY_MS);
		entry.tries += 1;
		entry.http_status = (await post(text, sign(text), webhookAgent)).status;
	}
}

function statusWebhook(call, status, statusError) {
	return {
		object: 'whatsapp_business_account',
		entry: [{
			id: WABA_ID,
			changes: [{
				value: {
					messaging_product: 'whatsapp',
					metadata: { display_phone_number: DISPLAY_PHONE_NUMBER, phone_number_id: call.phoneNumberId },
					contacts: status === 'failed' ? undefined : [webhookContact(call)],
					statuses: [statusObject(call, status, statusError)],
				},
				field: 'messages',
			}],
		}],
	};
}

function webhookContact(call) {
	if (call.isByUserId)
		return { profile: PROFILE, user_id: call.body.recipient };
	return { profile: PROFILE, wa_id: call.isGroup ? PARTICIPANT : recipientId(call) };
}

function statusObject(call, status, statusError = 131026) {
	const perMember = call.isGroup && status !== 'sent' && status !== 'failed';

	return {
		id: call.wamid,
		status,
		timestamp: statusSecond(),
		recipient_id: call.isByUserId ? undefined : recipientId(call),
		recipient_user_id: call.isByUserId ? call.body.recipient : undefined,
		recipient_type: call.isGroup ? 'group' : undefined,
		recipient_participant_id: perMember ? PARTICIPANT : undefined,
		biz_opaque_callback_data: call.body.biz_opaque_callback_data,
		pricing: status === 'sent' ? pricing(call) : undefined,
		errors: status === 'failed' ? [statusErrorObject(statusError)] : undefined,
	};
}

/* The time in seconds, never less than before. */
function statusSecond() {
	lastStatusSecond = Math.max(lastStatusSecond, Math.floor(Date.now() / 1000));
	return String(lastStatusSecond);
}

function pricing(call) {
	if (call.type !== 'template')
		return { billable: false, pricing_model: 'PMP', type: 'free_customer_service', category: 'service' };

	const category = call.edge === 'marketing_messages' ? 'marketing_lite' : 'utility';

	return { billable: true, pricing_model: 'PMP', type: 'regular', category };
}

function statusErrorObject(code) {
	const title = TITLES[code] ?? 'Unknown error';

	return {
		code, title, message: title, error_data: { details: `${title}.` },
		href: 'https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes/',
	};
}

/* Posts to --webhook. Never throws: without an answer the status is 0. */
function post(text, signature, agent) {
	return new Promise(resolve => {
		const headers = { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) };
		const failed = error => resolve({ status: 0, error: error.message || error.code });

		if (signature !== null)
			headers['X-Hub-Signature-256'] = signature;
		http.request(options.webhook, { method: 'POST', agent, headers, timeout: WEBHOOK_TIMEOUT_MS }, answer => {
			answer.on('error', failed);
			collect(answer, body => resolve({ status: answer.statusCode, body }));
		}).on('timeout', function () {
			this.destroy(new Error('timeout'));
		}).on('error', failed).end(text);
	});
}

/*
 * Control.
 */
const CONTROL = {
	'POST /_script': addScript,
	'DELETE /_script': () => {
		scripts.clear();
		return { ok: true };
	},
	'POST /_release': release,
	'POST /_reset': reset,
	'POST /_tokens': body => {
		bearers = bearersOf(body.tokens);
		return { ok: true };
	},
	'GET /_log': (body, recipient, res) => sendLog(res, callsOf(recipient)),
	'GET /_count': (body, recipient) => count(recipient),
	'GET /_webhooks': () => webhooks,
	'POST /_webhook': postWebhook,
};

/* Something the caller did wrong. */
class Refused extends Error {}

/* Answers one control request. */
async function onControl(req, res, at, text) {
	const url = new URL(req.url, 'http://localhost');
	const handler = CONTROL[`${req.method} ${url.pathname}`];

	try {
		if (!handler)
			throw new Refused(`no such call: ${req.method} ${url.pathname}`);

		const body = text === '' ? {} : parse(text);

		if (!isObject(body))
			throw new Refused('the body is not a JSON object');

		const answer = await handler(body, url.searchParams.get('recipient'), res);

		if (answer !== undefined)
			sendJson(res, 200, answer);
	} catch (error) {
		sendJson(res, error instanceof Refused ? 400 : 500, { error: error.message });
	}
}

function sendJson(res, status, value) {
	res.writeHead(status, { 'Content-Type': JSON_TYPE });
	res.end(JSON.stringify(value));
}

/* Keeps a script. */
function addScript(script) {
	for (const [key, value] of Object.entries(script)) {
		const actual = Array.isArray(value) ? 'array' : typeof value;

		if (!Object.hasOwn(SCRIPT_KEYS, key))
			throw new Refused(`unknown key ${key}`);
		if (value === null || actual !== SCRIPT_KEYS[key])
			throw new Refused(`${key} must be of type ${SCRIPT_KEYS[key]}`);
	}
	if (script.recipient === undefined)
		throw new Refused('recipient is missing');
	if (script.error && !Number.isInteger(script.error.code))
		throw new Refused('error needs a code');
	if (script.times !== undefined && !(script.times >= 1))
		throw new Refused('times must be at least 1');
	scripts.set(script.recipient === '*' ? '*' : simplify(script.recipient), script);
	return { ok: true };
}

/* Lets held requests be answered, in the order they came. */
function release({ recipient }) {
	const released = [...held].filter(call => recipient === undefined || call.key === simplify(recipient));

	for (const call of released) {
		held.delete(call);
		call.release();
	}
	return { released: released.length };
}

function reset() {
	calls = [];
	webhooks = [];
	accepted = 0;
	maxInFlight = inFlight;
	era += 1;
	scripts.clear();
	return { ok: true };
}

function callsOf(recipient) {
	return recipient === null ? calls : calls.filter(call => call.key === simplify(recipient));
}

/* Sends the log in pieces, because one string might be too long. */
function sendLog(res, chosen) {
	res.writeHead(200, { 'Content-Type': JSON_TYPE });
	res.write('[');
	for (let i = 0; i < chosen.length; i += 1000)
		res.write((i === 0 ? '' : ',\n') + chosen.slice(i, i + 1000).map(call => call.toLine()).join(',\n'));
	res.end(']\n');
}

function count(recipient) {
	if (recipient === null)
		return {
			requests: calls.length, accepted, in_flight: inFlight, max_in_flight: maxInFlight,
			webhooks_pending: webhooksPending,
		};

	const chosen = callsOf(recipient);

	return {
		requests: chosen.length,
		accepted: chosen.filter(call => call.wamid !== undefined).length,
		in_flight: chosen.filter(call => call.ended === undefined).length,
		max_in_flight: mostAtOnce(chosen),
	};
}

/* How many of these calls were in flight at once, at most. */
function mostAtOnce(chosen) {
	const moments = chosen.flatMap(({ began, ended = Infinity }) => [[began, 1], [ended, -1]]);
	let current = 0;
	let most = 0;

	moments.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
	for (const [, change] of moments) {
		current += change;
		most = Math.max(most, current);
	}
	return most;
}

/* Posts a webhook of the caller's, on a connection of its own. */
function postWebhook({ body, raw, signature }) {
	const text = raw ?? (body && wire(body));

	if (!options.webhook)
		throw new Refused('there is no --webhook');
	if (typeof text !== 'string')
		throw new Refused('body or raw is needed');
	return post(text, signature === undefined ? sign(text) : signature, false);
}

/*
 * The server.
 */

/* Reads a request or an answer whole. */
function collect(stream, done) {
	const chunks = [];

	stream.on('data', chunk => chunks.push(chunk));
	stream.on('end', () => done((chunks.length === 1 ? chunks[0] : Buffer.concat(chunks)).toString()));
}

function onRequest(req, res) {
	const at = now();

	req.nth = ++req.socket.requests;
	collect(req, text => (req.url.startsWith('/_') ? onControl : onGraph)(req, res, at, text));
}

function onConnection(socket) {
	socket.number = ++lastConnection;
	socket.requests = 0;
	sockets.set(socket.number, socket);
	socket.once('close', () => sockets.delete(socket.number));
}

/* Ends at once; what still waits is logged as it stands. */
function stop() {
	for (const call of unsettled)
		settle(call, call.outcome);
	if (logFile !== undefined)
		writeLog();
	process.exit(0);
}

process.on('SIGTERM', stop);
process.on('SIGINT', stop);

/* Has a server listen, then says so. */
function listen(server, port, what) {
	server.on('error', error => {
		process.stderr.write(`graph.js: ${error.message}\n`);
		process.exit(1);
	});
	server.listen({ host: '127.0.0.1', port, backlog: 4096 }, () => {
		process.stdout.write(`${what} on ${server.address().port}\n`);
	});
}

const plain = http.createServer({ keepAliveTimeout: KEEP_ALIVE_MS, requestTimeout: 0 }, onRequest)
	.on('connection', onConnection);

if (options.key === undefined) {
	listen(plain, options.port, 'listening');
} else {
	listen(plain, 0, 'control');
	plain.on('listening', () => listen(http2.createSecureServer({
		key: fs.readFileSync(options.key), cert: fs.readFileSync(options.cert), allowHTTP1: true,
	}, onRequest).on('secureConnection', onConnection), options.port, 'listening'));
}
