// `ropescope sample` as a user runs it.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/tensor.h>

#include "ropescope/core/json.h"
#include "ropescope/io/result_file.h"

#include "tests/support/golden.h"
#include "tests/support/paths.h"

namespace ropescope {
namespace {

using testing::CommandResult;
using ::testing::HasSubstr;
using testing::run_ropescope;

class SampleCommand : public ::testing::Test {
 protected:
  void SetUp() override {
    model_ = testing::golden_path("language/llama-tiny/safetensors-fp32");
    corpus_ = folder_.path("texts.jsonl");
    std::ofstream file(corpus_);
    for (const char* text :
         {"The lighthouse keeper climbed the spiral stairs every evening and lit the lamp.", "Short.",
          "A river carries more than water: it carries the memory of every hill that it has passed.",
          "Numbers do not lie, but they can be asked the wrong question by a careless reader."}) {
      file << Json{{"text", text}}.dump() << "\n";
    }
  }
  CommandResult sample(const std::string& flags) {
    return run_ropescope("sample --quiet --model " + model_ + " --texts " + corpus_ + " " + flags);
  }
  testing::TemporaryFolder folder_;
  std::string model_, corpus_;
};

TEST_F(SampleCommand, WritesPairsMomentsProfileAndTexts) {
  const std::string output = folder_.path("s.h5");
  const CommandResult run = sample("--moments --profile --min-tokens 16 --json --output " + output);
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const Json report = parse_json(run.out, "stdout");
  EXPECT_EQ(report["texts"], 3);
  EXPECT_EQ(report["skipped_short"], 1);
  EXPECT_EQ(report["pairs"], 3 * 3 * 10);

  const ResultReader file(output);
  const at::Tensor q = file.read("/pairs/q");
  EXPECT_EQ(q.sizes().vec(), (std::vector<int64_t>{90, 16}));
  for (const char* name : {"text", "layer", "head", "query", "key"}) {
    EXPECT_EQ(file.read(std::string("/pairs/") + name).scalar_type(), at::kLong) << name;
  }
  EXPECT_EQ(file.read("/pairs/text").max().item<int64_t>(), 2);
  EXPECT_EQ(file.read("/moments/mean_k").sizes().vec(), (std::vector<int64_t>{3, 4, 16}));
  EXPECT_EQ(file.read("/moments/count").sizes().vec(), (std::vector<int64_t>{3, 4}));
  const at::Tensor tokens = file.read("/texts/tokens");
  EXPECT_EQ(file.read("/moments/count").max().item<int64_t>(), tokens.sum().item<int64_t>());
  EXPECT_EQ(file.read("/profile/distance").size(0), tokens.max().item<int64_t>());
  EXPECT_EQ(file.read("/profile/stderr").sizes().vec(),
            (std::vector<int64_t>{3, 4, tokens.max().item<int64_t>()}));
  EXPECT_EQ(file.read_strings("/texts/name").size(), 3u);
  EXPECT_EQ(std::get<double>(file.attribute("/model", "rope_theta")), 10000.0);
}

TEST_F(SampleCommand, SameSeedGivesTheSameFileContent) {
  const std::string flags = "--min-tokens 16 --moments --profile --seed 5 --output ";
  ASSERT_EQ(sample(flags + folder_.path("a.h5")).exit_code, 0);
  ASSERT_EQ(sample(flags + folder_.path("b.h5")).exit_code, 0);
  ASSERT_EQ(sample("--min-tokens 16 --seed 6 --output " + folder_.path("c.h5")).exit_code, 0);
  const ResultReader a(folder_.path("a.h5"));
  const ResultReader b(folder_.path("b.h5"));
  const ResultReader c(folder_.path("c.h5"));
  for (const std::string& dataset : a.datasets()) {
    if (dataset.rfind("/pairs/", 0) == 0 || dataset.rfind("/moments/mean", 0) == 0) {
      EXPECT_TRUE(a.read(dataset).equal(b.read(dataset))) << dataset;
    }
  }
  EXPECT_FALSE(a.read("/pairs/query").equal(c.read("/pairs/query")));
}

TEST_F(SampleCommand, PicksKeepTheirOrderAndNumberEveryText) {
  const std::string picks = folder_.path("picks.csv");
  std::ofstream(picks) << "text,layer,head,query,key\n2,1,3,4,0\n0,2,0,1,1\n1,0,1,2,0\n2,1,3,4,0\n";
  const std::string output = folder_.path("s.h5");
  const CommandResult run = sample("--picks " + picks + " --output " + output);
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const ResultReader file(output);
  EXPECT_TRUE(file.read("/pairs/text").equal(at::tensor({2, 0, 1, 2}, at::kLong)));
  EXPECT_TRUE(file.read("/pairs/layer").equal(at::tensor({1, 2, 0, 1}, at::kLong)));
  const at::Tensor q = file.read("/pairs/q");
  EXPECT_TRUE(q[0].equal(q[3]));
  EXPECT_FALSE(q[0].equal(q[1]));
}

TEST_F(SampleCommand, StreamedWeightsGiveTheSameFile) {
  const std::string flags = "--min-tokens 16 --moments --profile --seed 5 --output ";
  ASSERT_EQ(sample("--weights resident " + flags + folder_.path("a.h5")).exit_code, 0);
  for (const char* more : {"--weights streamed", "--weights streamed --memory-limit 1000"}) {
    ASSERT_EQ(sample(more + std::string(" --force ") + flags + folder_.path("b.h5")).exit_code, 0);
    const CommandResult same =
        run_ropescope("compare --rtol 0 --atol 0 " + folder_.path("a.h5") + " " + folder_.path("b.h5"));
    EXPECT_EQ(same.exit_code, 0) << same.out;
  }
}

TEST_F(SampleCommand, AMemoryLimitThatCannotBeKeptIsRefused) {
  const CommandResult run = sample("--memory-limit 100 --output " + folder_.path("s.h5"));
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.err, HasSubstr("--memory-limit 100: expected at least"));
  EXPECT_EQ(sample("--weights disk --output " + folder_.path("s.h5")).exit_code, 2);
}

TEST_F(SampleCommand, GoesOnAfterItWasKilled) {
  std::ofstream file(corpus_);
  for (int i = 0; i < 150; ++i) {
    file << Json{{"text", "Text number " + std::to_string(i * i) + " of a corpus, sampled one at a time."}}
                .dump()
         << "\n";
  }
  file.close();
  const std::string flags = "sample --model " + model_ + " --texts " + corpus_ +
                            " --max-texts 150 --moments --min-tokens 16 --tokens-per-pass 1"
                            " --weights resident --output ";
  const std::string whole = folder_.path("whole.h5"), output = folder_.path("s.h5"),
                    state = output + ".state";
  ASSERT_EQ(run_ropescope(flags + whole).exit_code, 0);
  EXPECT_FALSE(std::filesystem::exists(whole + ".state")) << "the state of a complete run stays";

  // Parts of an older run in several processes, which this one is not.
  const std::string parts = output + ".parts";
  std::filesystem::create_directory(parts);
  std::ofstream(parts + "/run.json") << "{}";
  std::ofstream(parts + "/part-000000.safetensors") << "of another run";
  // Killed as soon as there is a state, which many waves follow.
  const std::string script = testing::ropescope_path() + " " + flags + output +
                             " --save-every 0 >/dev/null 2>&1 & pid=$!; for i in $(seq 600); do [ -e " +
                             state +
                             " ] && break; sleep 0.05; done; kill -9 $pid; wait $pid 2>/dev/null; true";
  ASSERT_EQ(std::system(script.c_str()), 0);
  ASSERT_TRUE(std::filesystem::exists(state));
  EXPECT_FALSE(std::filesystem::exists(output));
  EXPECT_FALSE(std::filesystem::exists(parts));

  CommandResult run = run_ropescope(flags + output + " --resume --seed 9");
  EXPECT_EQ(run.exit_code, 3);
  EXPECT_THAT(run.err, HasSubstr("it belongs to another run (seed: 0 then, 9 now)"));
  run = run_ropescope(flags + output + " --resume");
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(run.err, HasSubstr("of 150 passes are done"));
  EXPECT_FALSE(std::filesystem::exists(state));
  const CommandResult same = run_ropescope("compare --rtol 0 --atol 0 " + whole + " " + output);
  EXPECT_EQ(same.exit_code, 0) << same.out;
}

TEST_F(SampleCommand, ErrorsNameTheCulprit) {
  const std::string picks = folder_.path("picks.csv");
  std::ofstream(picks) << "text,layer,head,query,key\n0,0,0,1,999\n";
  const std::string output = " --output " + folder_.path("s.h5");
  CommandResult run = sample("--picks " + picks + output);
  EXPECT_EQ(run.exit_code, 3);
  EXPECT_THAT(run.err, HasSubstr("picks.csv line 2: key 999"));
  run = sample("--layers 0,3" + output);
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.err, HasSubstr("--layers"));
  run = sample("--min-tokens 400" + output);
  EXPECT_EQ(run.exit_code, 3);
  EXPECT_THAT(run.err, HasSubstr("--min-tokens"));
  run = sample("--pair-per-layer 3" + output);
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.err, HasSubstr("--pairs-per-layer"));
  run = sample("");
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.err, HasSubstr("--output"));
  EXPECT_FALSE(std::ifstream(folder_.path("s.h5")).good());
}

}  // namespace
}  // namespace ropescope
