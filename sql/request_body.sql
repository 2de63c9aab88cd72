-- What is sent for a row.
CREATE EXTENSION whatsapp;
SET client_min_messages = warning;
SELECT whatsapp.add_number('106540352242922');
SELECT whatsapp.add_number('106540352242923');

INSERT INTO whatsapp.outbox (phone_number_id, recipient, recipient_type, type, body, content, reply_to, callback_data) VALUES
	('106540352242922', '+1 555 123-4567', 'individual', 'text', E'Hello, "Ada" \\ \n 👋', NULL, NULL, NULL),
	('106540352242922', '15551234567', 'individual', 'text', 'An answer', NULL, 'wamid.IN', 'order 7'),
	('106540352242922', '15551234567', 'individual', 'text', NULL, '{"body": "https://example.com", "preview_url": true}', NULL, NULL),
	('106540352242923', 'US.77120045539981', 'individual', 'text', 'Hello', NULL, NULL, NULL),
	('106540352242923', 'R1JPVVAtRVhBTVBMRS0wMDE', 'group', 'text', 'Hello, all', NULL, NULL, NULL),
	('106540352242923', '15551234567', 'individual', 'image', NULL, '{"link": "https://example.com/a.jpg", "caption": null}', NULL, NULL),
	('106540352242923', '15551234567', 'individual', 'contacts', NULL, '[{"name": {"formatted_name": "Ada", "first_name": "Ada"}}]', NULL, NULL),
	('106540352242923', '15551234567', 'individual', 'something_new', NULL, '{"what": 1}', NULL, NULL);

SELECT whatsapp.request_body(o) FROM whatsapp.outbox o ORDER BY id;

DROP EXTENSION whatsapp;
