'use strict';

/*
 * Files deliveries, those together that come while others are being committed.
 *
 * Nobody waits for a batch to become full: a delivery that comes while there is
 * nothing under way is filed at once, by itself. Under load each transaction
 * takes along what has come since the one before began, so that a commit is
 * shared by as many as there are. Each delivery has its own result. When the
 * database is away, all that wait are told so.
 */

const { DatabaseError } = require('pg');

const INGEST_BATCH = 'SELECT ord, http_status FROM whatsapp.ingest_batch($1, $2)';

/* What one transaction takes: the bodies are sent to the database as text, twice as long. */
const MAX_DELIVERIES = 200;
const MAX_BYTES = 8 * 1024 * 1024;

/* How many transactions there are at a time */
const MAX_BATCHES = 2;

/* Errors that others would meet, too: the database is away, full, slow, locked or a standby. */
const IS_AWAY = /^(08|25006|53|55P03|57|58)/;

class Batcher {
	#pool;
	#waiting = [];
	#batches = 0;

	constructor(pool) {
		this.#pool = pool;
	}

	/* Resolves to the HTTP status of one delivery, and how many were filed with it, once it is committed. */
	deliver(body, signature) {
		return new Promise((resolve, reject) => {
			this.#waiting.push({ body, signature, resolve, reject });
			this.#next();
		});
	}

	/* Begins the next transaction, if it may. */
	#next() {
		if (this.#batches === MAX_BATCHES || this.#waiting.length === 0)
			return;
		const batch = this.#take();
		this.#batches++;
		this.#file(batch).finally(() => {
			this.#batches--;
			this.#next();
		});
	}

	/* As many of those that wait as fit, but one at least. */
	#take() {
		let count = 1;
		let bytes = this.#waiting[0].body.length;

		while (count < this.#waiting.length && count < MAX_DELIVERIES) {
			bytes += this.#waiting[count].body.length;
			if (bytes > MAX_BYTES)
				break;
			count++;
		}
		return this.#waiting.splice(0, count);
	}

	/* Settles each of a batch; never fails. Resolves to the error that all others would meet, too, if there was one. */
	async #file(batch) {
		let away = null;

		try {
			const values = [batch.map(delivery => delivery.body), batch.map(delivery => delivery.signature)];
			const { rows } = await this.#pool.query({ name: 'ingest_batch', text: INGEST_BATCH, values });

			for (const row of rows)
				batch[row.ord - 1].resolve({ status: row.http_status, batch: batch.length });
		} catch (error) {
			if (!(error instanceof DatabaseError) || IS_AWAY.test(error.code)) {
				away = error;
			} else if (batch.length === 1) {
				batch[0].reject(error);
			} else {
				// what one of them has met, such as a deadlock, is not to be met by all
				for (let i = 0; i < batch.length && !away; i++)
					away = await this.#file([batch[i]]);
			}
		}
		if (away) {
			// (those that have been settled stay so)
			for (const delivery of [...batch, ...this.#waiting.splice(0)])
				delivery.reject(away);
		}
		return away;
	}
}

module.exports = { Batcher };
