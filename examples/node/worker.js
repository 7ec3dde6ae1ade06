// Reads orders, writes one bill for each: kafkajs at least once, and Redis remembers which orders have their bill, so
// that one that is handed out again gives no second bill (but for those whose worker died between the two).
//
// BROKEN=1 remembers an order before its bill is written, as `SET … NX` invites to: after a death it is taken for one
// that is done, and its bill never comes.
"use strict";

const { Kafka, logLevel } = require("kafkajs");
const Redis = require("ioredis");

const BROKEN = process.env.BROKEN === "1";
const KEEP_S = 600;
const utf8 = new TextDecoder("utf-8", { fatal: true });
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// The order of a message. Throws SyntaxError or TypeError for what is no order.
function order(message) {
  return JSON.parse(utf8.decode(message.value));
}

function bill(message, { id, customer, amount }) {
  return { key: message.key, value: JSON.stringify({ order: id, customer, total: amount }) };
}

function dead(batch, message, error) {
  const told = {
    "x-topic": batch.topic,
    "x-partition": String(batch.partition),
    "x-offset": message.offset,
    "x-error": error.name,
  };
  return { key: message.key, value: message.value, headers: { ...message.headers, ...told } };
}

// Which of these orders have no bill yet.
async function open(redis, ids) {
  if (BROKEN) {
    const claims = await redis.pipeline(ids.map((id) => ["set", `bill:${id}`, "1", "EX", KEEP_S, "NX"])).exec();
    await sleep(300);
    return ids.filter((_, index) => claims[index][1] === "OK");
  }
  const done = await redis.mget(ids.map((id) => `bill:${id}`));
  return ids.filter((_, index) => done[index] === null);
}

async function remember(redis, ids) {
  const results = await redis.pipeline(ids.map((id) => ["set", `bill:${id}`, "1", "EX", KEEP_S])).exec();
  const failed = results.find(([error]) => error);
  if (failed) throw failed[0];
}

// kafkajs commits the batch when this returns, and hands it out again when it throws.
async function handle(batch, producer, redis) {
  const orders = new Map();
  const letters = [];
  for (const message of batch.messages) {
    try {
      const one = order(message);
      orders.set(one.id, bill(message, one));
    } catch (error) {
      letters.push(dead(batch, message, error));
    }
  }
  const ids = orders.size ? await open(redis, [...orders.keys()]) : [];
  const topicMessages = [
    { topic: "bills", messages: ids.map((id) => orders.get(id)) },
    { topic: "orders.dlq", messages: letters },
  ].filter(({ messages }) => messages.length);
  if (topicMessages.length) await producer.sendBatch({ topicMessages, acks: -1 });
  if (ids.length && !BROKEN) await remember(redis, ids);
}

async function main() {
  const retry = { initialRetryTime: 100, maxRetryTime: 1000, retries: 1000 };
  const kafka = new Kafka({ clientId: "billing", brokers: [process.env.KAFKA], logLevel: logLevel.ERROR, retry });
  // A command is not sent again behind our back: the batch is, by kafkajs.
  const redis = new Redis(process.env.REDIS, {
    commandTimeout: 2000,
    maxRetriesPerRequest: 0,
    retryStrategy: () => 100,
  });
  redis.on("error", (error) => console.log(`redis: ${error.message}`));
  const producer = kafka.producer({ allowAutoTopicCreation: false });
  const consumer = kafka.consumer({ groupId: "billing-node", sessionTimeout: 6000, heartbeatInterval: 1000 });
  consumer.on(consumer.events.GROUP_JOIN, () => console.log("at work"));
  await producer.connect();
  await consumer.connect();
  await consumer.subscribe({ topics: ["orders"], fromBeginning: true });
  await consumer.run({ partitionsConsumedConcurrently: 4, eachBatch: ({ batch }) => handle(batch, producer, redis) });
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
