// `sample` with weights that stay in their files: what is damaged or full ends it with a sentence and leaves nothing behind.
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include "ropescope/core/file.h"

#include "tests/support/golden.h"
#include "tests/support/paths.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

class StreamedFaults : public ::testing::Test {
 protected:
  StreamedFaults() {
    std::ofstream texts(folder_.path("texts.txt"));
    for (int i = 0; i < 60; ++i)
      texts << "The river had risen, and the bridge was closed " << i << " times.\n\n";
  }
  std::string sample(const std::string& model, const std::string& output) const {
    return fmt::format(
        "sample --quiet --weights streamed --model '{}' --texts '{}' --min-tokens 4 --moments --profile --save-every 0 "
        "--pairs-per-layer 200 --output '{}'",
        model, folder_.path("texts.txt"), output);
  }
  /// Names in a folder that a run may have left.
  static size_t files_in(const fs::path& folder) {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
  }

  TemporaryFolder folder_;
  const std::string model_ = golden_path("language/llama-tiny/safetensors-fp32");
};

TEST_F(StreamedFaults, AShardThatEndsEarlyIsNamed) {
  const fs::path cut = folder_.path("cut"), results = folder_.path("results");
  fs::create_directories(results);
  fs::copy(model_, cut);
  const fs::path shard = cut / "model.safetensors";
  fs::permissions(shard, fs::perms::owner_write, fs::perm_options::add);
  fs::resize_file(shard, fs::file_size(shard) / 2);
  const CommandResult result = run_ropescope(sample(cut.string(), (results / "s.h5").string()));
  EXPECT_EQ(result.exit_code, 3) << result.err;
  EXPECT_THAT(result.err, HasSubstr("model.safetensors"));
  EXPECT_THAT(result.err, HasSubstr("may be cut short"));
  EXPECT_EQ(files_in(results), 0U);
}

TEST_F(StreamedFaults, AFullDiskLeavesNoHalfOfAFile) {
  const fs::path results = folder_.path("results");
  fs::create_directories(results);
  // No file may grow beyond a few KiB; the signal that says so is ignored, as on a full disk there is none.
  const std::string line =
      fmt::format("trap '' XFSZ; ulimit -f 8; '{}' {} >/dev/null 2>'{}'", ropescope_path(),
                  sample(model_, (results / "s.h5").string()), folder_.path("err"));
  const int status = std::system(line.c_str());
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 4);
  EXPECT_THAT(read_file(folder_.path("err")), HasSubstr("is the disk full?"));
  EXPECT_EQ(files_in(results), 0U);
}

}  // namespace
}  // namespace ropescope
