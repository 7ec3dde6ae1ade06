import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Reads orders, writes one bill for each, exactly once: bills and offsets are of one transaction.
 *
 * <p>BROKEN=1 commits the offsets beside the transaction, after it, as a loop does that was made transactional in half:
 * after a death in between, orders are billed twice.
 */
public final class Billing {
  private static final boolean BROKEN = "1".equals(System.getenv("BROKEN"));
  private static final ObjectMapper JSON = new ObjectMapper();

  private final KafkaConsumer<byte[], byte[]> consumer;
  private final KafkaProducer<byte[], byte[]> producer;

  private Billing() {
    String kafka = System.getenv("KAFKA");
    consumer =
        new KafkaConsumer<>(
            Map.of(
                "bootstrap.servers", kafka,
                "group.id", "billing",
                "group.instance.id", "billing-0",
                "session.timeout.ms", "6000",
                "enable.auto.commit", "false",
                "auto.offset.reset", "earliest",
                "isolation.level", "read_committed"),
            new ByteArrayDeserializer(),
            new ByteArrayDeserializer());
    producer =
        new KafkaProducer<>(
            Map.of("bootstrap.servers", kafka, "transactional.id", "billing-0", "transaction.timeout.ms", "10000"),
            new ByteArraySerializer(),
            new ByteArraySerializer());
  }

  public static void main(String[] arguments) throws Exception {
    while (true) {
      Billing billing = new Billing();
      try {
        billing.work();
      } catch (KafkaException error) {
        System.out.println("begins anew after " + error);
      } finally {
        billing.close();
      }
      Thread.sleep(200);
    }
  }

  private void work() throws Exception {
    // Waits for a transaction that an earlier life left open, or ends it.
    producer.initTransactions();
    consumer.subscribe(List.of("orders"), new Told());
    while (true) {
      ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(100));
      if (!records.isEmpty()) {
        handle(records);
      }
    }
  }

  private void handle(ConsumerRecords<byte[], byte[]> records) throws Exception {
    Map<TopicPartition, OffsetAndMetadata> done = new HashMap<>();
    producer.beginTransaction();
    for (ConsumerRecord<byte[], byte[]> record : records) {
      producer.send(new ProducerRecord<>("bills", record.key(), bill(record.value())));
      done.put(
          new TopicPartition(record.topic(), record.partition()), new OffsetAndMetadata(record.offset() + 1));
    }
    if (BROKEN) {
      producer.commitTransaction();
      Thread.sleep(300);
      consumer.commitSync(done);
      return;
    }
    producer.sendOffsetsToTransaction(done, consumer.groupMetadata());
    producer.commitTransaction();
  }

  private static byte[] bill(byte[] value) throws Exception {
    JsonNode order = JSON.readTree(value);
    return JSON.writeValueAsBytes(
        JSON.createObjectNode()
            .put("order", order.get("id").asText())
            .put("customer", order.get("customer").asText())
            .put("total", order.get("amount").asText()));
  }

  private void close() {
    producer.close(Duration.ofSeconds(2));
    consumer.close();
  }

  /** Says that work can begin: a member that died still counts in its group, so the group alone does not tell. */
  private static final class Told implements ConsumerRebalanceListener {
    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
      System.out.println("at work");
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> partitions) {}
  }
}
