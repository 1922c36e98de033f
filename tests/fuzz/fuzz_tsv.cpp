// Tab separated records: read in turn, and each again from its place.
#include "ropescope/eval/tsv.h"

#include "tests/fuzz/fuzz_file.h"
#include "tests/fuzz/fuzz_target.h"

RS_FUZZ_TARGET(tsv, bytes) {
  using namespace ropescope;
  const testing::FuzzFile file(bytes, ".tsv");
  eval::TsvReader reader(file.path());
  std::vector<std::vector<std::string>> records;
  std::vector<uint64_t> offsets;
  size_t text = 0;
  for (std::vector<std::string> record; reader.next(record);) {
    for (const std::string& field : record) text += field.size();
    records.push_back(record);
    offsets.push_back(reader.record_offset());
  }
  if (text > bytes.size()) throw InternalError("the fields are longer than the file");
  const bool unclosed = reader.unclosed_quote();
  for (size_t i = records.size(); i-- > 0;) {
    std::vector<std::string> again;
    reader.seek(offsets[i]);
    if (!reader.next(again) || again != records[i]) throw InternalError("record {} reads otherwise", i);
  }
  if (unclosed) throw InputError("a quote is left open");
}
