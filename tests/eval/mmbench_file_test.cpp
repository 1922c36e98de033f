// Benchmark files: tab separated records, pictures in base64, and what is wrong with them.
#include "ropescope/eval/mmbench_file.h"

#include <gtest/gtest.h>

#include "ropescope/core/errors.h"
#include "ropescope/eval/base64.h"
#include "ropescope/eval/tsv.h"

#include "tests/eval/golden_tables.h"

namespace ropescope::eval {
namespace {

using testing::golden_path;

Json report_of(const MmbenchCheck& check) {
  Json rejected = Json::array();
  for (const auto& record : check.rejected)
    rejected.push_back({{"record", record.record}, {"error", record.error}});
  return {{"items", check.items},
          {"rejected", rejected},
          {"n_circular_groups", check.circular_groups},
          {"file_error", check.file_error},
          {"column", check.missing_column}};
}

TEST(MmbenchFile, EveryRecordOfTheGoldenFiles) {
  const Json golden = testing::golden_json("evaluation/mmbench_tsv.json");
  for (const auto& [name, expected] : golden.at("files").items()) {
    expect_table(report_of(check_mmbench_file(golden_path("evaluation/" + name))), expected, name);
  }
}

TEST(Tsv, QuotesCarriageReturnsAndTheLastLine) {
  const testing::TemporaryFolder folder;
  TsvReader reader(folder.write("file.tsv", "a\tb\r\n\r\n\"x\t\"\"y\"\"\nz\"\tmid\"quote\n1\t"));
  std::vector<std::string> record;
  ASSERT_TRUE(reader.next(record));
  EXPECT_EQ(record, (std::vector<std::string>{"a", "b"}));
  ASSERT_TRUE(reader.next(record));
  EXPECT_EQ(record, (std::vector<std::string>{"x\t\"y\"\nz", "mid\"quote"}));
  const uint64_t offset = reader.record_offset();
  ASSERT_TRUE(reader.next(record));
  EXPECT_EQ(record, (std::vector<std::string>{"1", ""}));
  EXPECT_FALSE(reader.next(record));
  EXPECT_FALSE(reader.unclosed_quote());
  reader.seek(offset);
  ASSERT_TRUE(reader.next(record));
  EXPECT_EQ(record[1], "mid\"quote");
}

TEST(Tsv, AnOpenQuoteIsNoRecord) {
  const testing::TemporaryFolder folder;
  TsvReader reader(folder.write("file.tsv", "a\n\"b"));
  std::vector<std::string> record;
  EXPECT_TRUE(reader.next(record));
  EXPECT_FALSE(reader.next(record));
  EXPECT_TRUE(reader.unclosed_quote());
}

TEST(MmbenchFile, AnEmptyFileLacksItsFirstColumn) {
  const testing::TemporaryFolder folder;
  const MmbenchCheck check = check_mmbench_file(folder.write("file.tsv", ""));
  EXPECT_EQ(check.file_error, "missing_column");
  EXPECT_EQ(check.missing_column, "index");
  EXPECT_THROW(check_mmbench_file(folder.path("absent.tsv")), InputError);
}

TEST(Base64, AlphabetPaddingAndBlanks) {
  EXPECT_EQ(decode_base64("aGVs\n bG8="), "hello");
  EXPECT_EQ(decode_base64("aGk="), "hi");
  EXPECT_FALSE(decode_base64("aGk"));
  EXPECT_FALSE(decode_base64("a=Gk"));
  EXPECT_FALSE(decode_base64("a==="));
  EXPECT_FALSE(decode_base64("aG-_"));
  EXPECT_FALSE(decode_base64(""));
}

}  // namespace
}  // namespace ropescope::eval
