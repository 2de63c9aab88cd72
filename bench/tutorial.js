'use strict';

/*
 * The handler of the usual tutorial, as a careful user would write it: the peer
 * of the front in examples/express, for bench/front.sh.
 *
 * It parses the body, and files all elements in one transaction, by prepared
 * statements: the body itself, contacts, messages, statuses. It does not check
 * the signature. Tables are made by tutorial.sql.
 */

const express = require('express');
const { Pool } = require('pg');

const pool = new Pool({ max: 20 });
const app = express();

const statements = {
	body: 'INSERT INTO tutorial.webhooks (body) VALUES ($1)',
	contact: `INSERT INTO tutorial.contacts (wa_id, name) VALUES ($1, $2)
		ON CONFLICT (wa_id) DO UPDATE SET name = excluded.name, last_seen = now()`,
	message: `INSERT INTO tutorial.messages (message_id, wa_id, type, body, sent_at, element)
		VALUES ($1, $2, $3, $4, to_timestamp($5), $6) ON CONFLICT (message_id) DO NOTHING`,
	status: 'INSERT INTO tutorial.statuses (message_id, status, at, element) VALUES ($1, $2, to_timestamp($3), $4)',
	message_status: 'UPDATE tutorial.messages SET status = $2 WHERE message_id = $1',
};

async function file(document) {
	const client = await pool.connect();
	const run = (name, ...values) => client.query({ name, text: statements[name], values });

	try {
		await client.query('BEGIN');
		await run('body', document);
		for (const entry of document.entry ?? []) {
			for (const { value } of entry.changes ?? []) {
				for (const contact of value.contacts ?? [])
					await run('contact', contact.wa_id, contact.profile?.name);
				for (const message of value.messages ?? [])
					await run('message', message.id, message.from, message.type, message.text?.body, message.timestamp, message);
				for (const status of value.statuses ?? []) {
					await run('status', status.id, status.status, status.timestamp, status);
					await run('message_status', status.id, status.status);
				}
			}
		}
		await client.query('COMMIT');
		client.release();
	} catch (error) {
		client.release(error);
		throw error;
	}
}

app.post('/webhook', express.json({ limit: '3mb' }), (req, res, next) => {
	if (req.body.object !== 'whatsapp_business_account')
		return res.sendStatus(400);
	return file(req.body).then(() => res.json({ success: true }), next);
});

const server = app.listen(process.env.PORT || 0, '127.0.0.1', () => console.log(`listening on ${server.address().port}`));
process.on('SIGTERM', () => server.close(() => pool.end().then(() => process.exit(0))));
