// A VLMEvalKit file with its pictures: what the check accepts can be asked about.
#include "ropescope/eval/records.h"
#include "ropescope/vision/image.h"

#include "tests/fuzz/fuzz_file.h"
#include "tests/fuzz/fuzz_target.h"

RS_FUZZ_TARGET(mmbench_file, bytes) {
  using namespace ropescope;
  const testing::FuzzFile file(bytes, ".tsv");
  const eval::MmbenchCheck check = eval::check_mmbench_file(file.path());
  if (!check.file_error.empty()) throw InputError("{}", check.file_error);
  const auto records = eval::open_records(file.path(), "mmbench");
  if (records->size() != static_cast<int64_t>(check.items.size()) ||
      records->rejected().size() != check.rejected.size()) {
    throw InternalError("{} records are accepted, {} can be read", check.items.size(), records->size());
  }
  for (int64_t i = 0; i < records->size(); ++i) {
    const Json doc = records->doc(i);
    const Json& item = check.items[static_cast<size_t>(i)];
    if (doc.at("question") != item.at("question")) throw InternalError("record {} changed", i);
    const size_t pictures = item.at("image").is_array() ? item.at("image").size() : 1;
    try {
      const std::vector<std::string> keys = records->pictures(i);
      if (keys.size() != pictures) throw InternalError("record {} lost pictures", i);
      for (const std::string& key : keys) {
        const std::string picture = records->picture(key);
        decode_image(std::as_bytes(std::span(picture)), key, {});
      }
    } catch (const InputError& error) {
      throw InternalError("an accepted picture cannot be had: {}", error.what());
    }
  }
  if (check.items.empty()) throw InputError("no record is accepted");
}
