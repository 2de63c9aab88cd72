-- Meta's verification of a webhook address, by function.
CREATE EXTENSION whatsapp;

SELECT whatsapp.add_number('700111222333444');

-- nothing is set, so nothing matches
SELECT whatsapp.verify_webhook('subscribe', '', '1158201444');
SELECT whatsapp.verify_webhook('subscribe', NULL, '1158201444');

SELECT whatsapp.set_verify_token('first-token');
SELECT whatsapp.set_verify_token('second-token', '700111222333444');

SELECT whatsapp.verify_webhook('subscribe', 'first-token', '1158201444');
SELECT whatsapp.verify_webhook('subscribe', 'second-token', '1158201444');

SELECT whatsapp.verify_webhook('subscribe', 'First-token', '1158201444');
SELECT whatsapp.verify_webhook('subscribe', 'first-toke', '1158201444');
SELECT whatsapp.verify_webhook('subscribe', 'first-token ', '1158201444');
SELECT whatsapp.verify_webhook('subscribe', '', '1158201444');
SELECT whatsapp.verify_webhook('subscribe', NULL, '1158201444');
SELECT whatsapp.verify_webhook('unsubscribe', 'first-token', '1158201444');
SELECT whatsapp.verify_webhook('', 'first-token', '1158201444');
SELECT whatsapp.verify_webhook(NULL, 'first-token', '1158201444');
SELECT whatsapp.verify_webhook('subscribe', 'first-token', NULL);

-- tokens that could not be typed in
SELECT whatsapp.set_verify_token('has space');
SELECT whatsapp.set_verify_token('');
SELECT whatsapp.set_verify_token(NULL);

DROP EXTENSION whatsapp;
