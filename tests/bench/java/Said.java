/** One output. sink: the node of the topology it goes to; at: its time as the event has it. */
record Said(String sink, String type, String eventId, String at, byte[] value) {}
