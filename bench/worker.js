'use strict';

/*
 * A worker that sends the rows of worker.outbox, see worker.sql: the peer of our
 * sender, as a good engineer writes it. It claims batches with SKIP LOCKED,
 * posts each batch over connections that are kept, all at once, and records
 * what came of it by one statement. Two batches are under way at a time, each on
 * a connection of its own to the database, so that one is sent while the other is
 * recorded. BENCH_WORKER_LOOPS and BENCH_WORKER_BATCH say otherwise.
 *
 * It knows neither order nor pace, tells no unknown outcome from a failure, and
 * files no message.
 *
 *	WORKER_URL=URL [WORKER_HTTP2=1] [WORKER_CA=FILE] [WORKER_LISTEN=1] node worker.js
 *
 * The PG* variables name the database. It ends when there is nothing queued any
 * more. With WORKER_LISTEN it sends what pg_notify() on the channel "outbox"
 * tells of, a row's id each time, until it is ended.
 */

const fs = require('node:fs');
const http = require('node:http');
const http2 = require('node:http2');
const https = require('node:https');
const { Client } = require('pg');

const BATCH = Number(process.env.BENCH_WORKER_BATCH ?? 200);
const LOOPS = Number(process.env.BENCH_WORKER_LOOPS ?? 2);
const MAX_SOCKETS = 256;
const SESSIONS = 8;
const TOKEN = 'EAAJtokentoken';

const url = new URL(process.env.WORKER_URL);
const ca = process.env.WORKER_CA && fs.readFileSync(process.env.WORKER_CA);
const requestHeaders = { 'content-type': 'application/json', authorization: `Bearer ${TOKEN}` };

const claim = {
	name: 'claim',
	text: `UPDATE worker.outbox SET state = 'sending', attempts = attempts + 1, claimed_at = now()
		WHERE id IN (
			SELECT id FROM worker.outbox WHERE state = 'queued'
			ORDER BY id LIMIT ${BATCH} FOR UPDATE SKIP LOCKED)
		RETURNING id, recipient, body`,
};
const claimOne = {
	name: 'claim_one',
	text: `UPDATE worker.outbox SET state = 'sending', attempts = attempts + 1, claimed_at = now()
		WHERE id = $1 AND state = 'queued' RETURNING id, recipient, body`,
};
const record = {
	name: 'record',
	text: `UPDATE worker.outbox o
		SET state = r.state, message_id = r.message_id, error = r.error, finished_at = clock_timestamp()
		FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[]) r (id, state, message_id, error)
		WHERE o.id = r.id`,
};

function requestBody({ id, recipient, body }) {
	return JSON.stringify({
		messaging_product: 'whatsapp',
		recipient_type: 'individual',
		to: recipient,
		type: 'text',
		text: { body },
		biz_opaque_callback_data: id,
	});
}

/* What came of a row, of its answer */
function outcome(row, status, text) {
	try {
		const answer = JSON.parse(text);

		if (status === 200)
			return { id: row.id, state: 'sent', message_id: answer.messages[0].id, error: null };
		return { id: row.id, state: 'failed', message_id: null, error: answer.error.message };
	} catch (error) {
		return failure(row, error);
	}
}

function failure(row, error) {
	return { id: row.id, state: 'failed', message_id: null, error: error.message };
}

/* Posts a row over HTTP/1.1. */
const client = url.protocol === 'https:' ? https : http;
const agent = new client.Agent({ keepAlive: true, maxSockets: MAX_SOCKETS, ca });

function post1(row) {
	return new Promise(resolve => {
		const body = requestBody(row);
		const headers = { ...requestHeaders, 'content-length': Buffer.byteLength(body) };
		const request = client.request(url, { method: 'POST', agent, headers }, response => {
			let text = '';

			response.setEncoding('utf8');
			response.on('data', chunk => { text += chunk; });
			response.on('end', () => resolve(outcome(row, response.statusCode, text)));
			response.on('error', error => resolve(failure(row, error)));
		});

		request.on('error', error => resolve(failure(row, error)));
		request.end(body);
	});
}

/* Posts a row over HTTP/2, whose connections are shared. */
const sessions = [];
let posted = 0;

function post2(row) {
	const n = posted++ % SESSIONS;

	if (!sessions[n] || sessions[n].closed || sessions[n].destroyed) {
		sessions[n] = http2.connect(url, { ca });
		sessions[n].on('error', () => {});
	}
	return new Promise(resolve => {
		const stream = sessions[n].request({ ':method': 'POST', ':path': url.pathname, ...requestHeaders });
		let status = 0;
		let text = '';

		stream.setEncoding('utf8');
		stream.on('response', headers => { status = headers[':status']; });
		stream.on('data', chunk => { text += chunk; });
		stream.on('end', () => resolve(outcome(row, status, text)));
		stream.on('error', error => resolve(failure(row, error)));
		stream.end(requestBody(row));
	});
}

const post = process.env.WORKER_HTTP2 ? post2 : post1;

async function send(db, rows) {
	const results = await Promise.all(rows.map(post));

	await db.query({
		...record,
		values: ['id', 'state', 'message_id', 'error'].map(name => results.map(result => result[name])),
	});
}

async function connect() {
	const db = new Client();

	await db.connect();
	return db;
}

async function drain() {
	const db = await connect();

	for (;;) {
		const { rows } = await db.query(claim);

		if (rows.length === 0)
			break;
		await send(db, rows);
	}
	await db.end();
}

async function listen() {
	const db = await connect();

	db.on('notification', async ({ payload }) => {
		const { rows } = await db.query({ ...claimOne, values: [payload] });

		await send(db, rows);
	});
	await db.query('LISTEN outbox');
	process.stdout.write('listening on 0\n');
}

async function main() {
	if (process.env.WORKER_LISTEN)
		return listen();
	await Promise.all(Array.from({ length: LOOPS }, drain));
	process.exit(0);
}

main().catch(error => {
	process.stderr.write(`worker.js: ${error.message}\n`);
	process.exit(1);
});
