import java.util.Map;
import org.apache.kafka.streams.state.RocksDBConfigSetter;
import org.rocksdb.BlockBasedTableConfig;
import org.rocksdb.BloomFilter;
import org.rocksdb.Cache;
import org.rocksdb.LRUCache;
import org.rocksdb.Options;

/** One block cache for all tasks, filters for users not seen before, room to merge writes. */
public final class RocksDb implements RocksDBConfigSetter {
  private static final long MIB = 1024 * 1024;
  private static final Cache CACHE = new LRUCache(128 * MIB);

  @Override
  public void setConfig(String store, Options options, Map<String, Object> configs) {
    BlockBasedTableConfig table = (BlockBasedTableConfig) options.tableFormatConfig();
    table.setBlockCache(CACHE);
    table.setFilterPolicy(new BloomFilter(10, false));
    table.setCacheIndexAndFilterBlocks(true);
    options.setTableFormatConfig(table);
    options.setWriteBufferSize(32 * MIB);
    options.setMaxWriteBufferNumber(3);
  }

  @Override
  public void close(String store, Options options) {
    // The cache is shared by all stores, and lasts as long as the process.
  }
}
