// Event files byte for byte, against records that TensorBoard's own writer made (2.21.0), and what a resumed run keeps.
#include "ropescope/train/event_file.h"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/train/run_log.h"

#include "tests/support/golden.h"
#include "tests/support/refusal.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

std::string from_hex(const std::string& digits) {
  std::string bytes;
  for (size_t i = 0; i < digits.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16));
  }
  return bytes;
}

// wall_time 1.5, step 3, train/loss 0.25, train/grad_norm 2: SerializeToString, framed with tensorboard's masked_crc32c.
const std::string kRecord = from_hex(
    "3800000000000000a3797d5709000000000000f83f10032a2b0a110a0a747261696e2f6c6f7373150000803e0a160a0f747261696e2f677261"
    "645f6e6f726d1500000040dad17b2b");

TEST(Crc32c, IsCastagnolis) {
  EXPECT_EQ(crc32c(""), 0u);
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
  // RFC 3720, B.4
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62A8AB43u);
  std::string rising;
  for (char byte = 0; byte < 32; ++byte) rising += byte;
  EXPECT_EQ(crc32c(rising), 0x46DD794Eu);
  EXPECT_EQ(masked_crc32c("123456789"), ((0xE3069283u >> 15 | 0xE3069283u << 17) + 0xA282EAD8u));
}

class EventFiles : public ::testing::Test {
 protected:
  std::string bytes() const { return read_file(file_); }
  void add(EventFile& events, int64_t step) const {
    events.scalars(step, 1.5, {{"train/loss", 0.25}, {"train/grad_norm", 2}});
  }

  TemporaryFolder folder_;
  std::string file_ = folder_.path("events.out.tfevents.1.test");
};

TEST_F(EventFiles, HoldTheRecordsThatTensorBoardWrites) {
  EventFile events(file_, -1);
  EXPECT_FALSE(events.continues());
  const std::string begin = bytes();
  EXPECT_NE(begin.find("brain.Event:2"), std::string::npos);
  add(events, 3);
  EXPECT_EQ(bytes(), begin + kRecord);
}

TEST_F(EventFiles, GoOnBehindTheStepThatIsResumed) {
  {
    EventFile events(file_, -1);
    events.text(0, 1.5, "run/config", "# a run");
    for (const int64_t step : {1, 2, 3}) add(events, step);
  }
  const std::string whole = bytes();
  std::ofstream(file_, std::ios::app) << kRecord.substr(0, 30);  // killed while it wrote
  EXPECT_TRUE(EventFile(file_, 3).continues());
  EXPECT_EQ(bytes(), whole) << "the torn record is gone, no other";
  {
    EventFile events(file_, 2);
    EXPECT_EQ(bytes(), whole.substr(0, whole.size() - kRecord.size()));
    add(events, 3);
  }
  EXPECT_EQ(bytes(), whole);
  EXPECT_FALSE(EventFile(file_, -1).continues());
  EXPECT_EQ(bytes().find("# a run"), std::string::npos) << "a run that begins keeps nothing";
}

TEST_F(EventFiles, RefuseWhatIsNone) {
  std::ofstream(file_) << "step,loss\n1,2\n";
  EXPECT_NE(refusal_of([&] { EventFile(file_, 1); }).find("expected an event file"), std::string::npos);
  EXPECT_EQ(bytes(), "step,loss\n1,2\n");
}

TEST(RunLog, WritesAnObjectAStepAndNoStepTwice) {
  const TemporaryFolder folder;
  const std::filesystem::path place = folder.path(".");
  const Json header = {{"scheme", "vanilla"}};
  const RunLogForms forms = parse_log_forms({"jsonl"});
  {
    RunLog log(place, forms, -1, header);
    for (const int64_t step : {1, 2, 3, 4}) log.add({step, 0.5 * static_cast<double>(step), 1e-3, 2.0, 100});
  }
  {
    RunLog log(place, forms, 2, header);
    log.add({3, 9.0, 1e-3, 2.0, 100});
    log.sync();
  }
  const std::vector<Json> lines = json_lines(read_file(place / "log.jsonl"));
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[1].at("step"), 2);
  EXPECT_EQ(lines[1].at("train/loss"), 1.0);
  EXPECT_EQ(lines[2].at("train/loss"), 9.0);
  EXPECT_GT(lines[2].at("_timestamp").get<double>(), 1.6e9);
  EXPECT_EQ(read_json_file(place / "log_header.json"), header);
  EXPECT_THROW(parse_log_forms({"wandb"}), UsageError);
}

}  // namespace
}  // namespace ropescope
