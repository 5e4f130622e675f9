"""NNG-Stream: a receive-once, send-once buffer between parallel producers and consumers."""
