// `ropescope sample` and `decay` on texts with pictures, against what `trace` shows of the same prompts.
#include <filesystem>
#include <fstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/equal.h>

#include "ropescope/core/json.h"
#include "ropescope/io/result_file.h"

#include "tests/support/golden.h"
#include "tests/support/paths.h"
#include "tests/support/tiny_llava.h"

namespace ropescope {
namespace {

using testing::CommandResult;
using testing::golden_path;
using ::testing::HasSubstr;
using testing::run_ropescope;

constexpr const char* kQuestion = "<image>What is this? Say it in a few words.";

class SamplePictures : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(folder_.path("pictures"));
    for (const char* name : {"cat.png", "cup.png"}) {
      std::filesystem::copy(golden_path(std::string("vlm/images/") + name),
                            folder_.path("pictures") + "/" + name);
    }
    write({{{"text", kQuestion}, {"images", {"pictures/cat.png"}}},
           {{"text", "A text without any picture, as long as a text has to be to be taken."}},
           {{"text", "Compare these."}, {"images", {"pictures/cat.png", "pictures/cup.png"}}}});
  }
  std::string texts() const { return folder_.path("texts.jsonl"); }
  void write(const std::vector<Json>& records) const {
    std::ofstream file(texts());
    for (const Json& record : records) file << record.dump() << "\n";
  }
  std::string model(const std::string& family) const {
    if (family != "llava_next") return " --model " + golden_path("vlm/" + family);
    const std::string path = folder_.path("llava");
    if (!std::filesystem::exists(path)) testing::write_tiny_llava(path);
    return " --model " + path;
  }
  CommandResult sample(const std::string& family, const std::string& flags) const {
    return run_ropescope("sample --quiet --force --min-tokens 4" + model(family) + " --texts " + texts() +
                         " " + flags);
  }

  testing::TemporaryFolder folder_;
};

TEST_P(SamplePictures, VectorsAreThoseThatTraceShows) {
  const std::string output = folder_.path("s.h5"), traced = folder_.path("t.h5");
  const CommandResult run = sample(
      GetParam(), "--pairs-per-layer 40 --max-tokens 4000 --moments --profile --json --output " + output);
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const CommandResult trace =
      run_ropescope("trace --quiet --dump q,k --text '" + std::string(kQuestion) + "' --image " +
                    folder_.path("pictures") + "/cat.png" + model(GetParam()) + " --output " + traced);
  ASSERT_EQ(trace.exit_code, 0) << trace.err;
  const ResultReader file(output), shown(traced);
  const auto column = [&](const char* name) { return file.read(std::string("/pairs/") + name); };
  const at::Tensor text = column("text"), layer = column("layer"), head = column("head"),
                   query = column("query"), key = column("key"), kind = column("kind"), q = column("q"),
                   k = column("k");
  int64_t compared = 0;
  for (int64_t i = 0; i < q.size(0); ++i) {
    if (text[i].item<int64_t>() != 0) continue;
    const std::string l = std::to_string(layer[i].item<int64_t>());
    const at::Tensor q_HTD = shown.read("/trace/q/" + l)[0], k_KTD = shown.read("/trace/k/" + l)[0];
    const int64_t a = head[i].item<int64_t>(), group = q_HTD.size(0) / k_KTD.size(0);
    EXPECT_TRUE(testing::all_close(q[i], q_HTD[a][query[i].item<int64_t>()], 2e-5)) << i;
    EXPECT_TRUE(testing::all_close(k[i], k_KTD[a / group][key[i].item<int64_t>()], 2e-5)) << i;
    ++compared;
  }
  EXPECT_GE(compared, 40);
  EXPECT_EQ(kind.max().item<int64_t>(), 3);
  // Nothing of a text without pictures is visual.
  EXPECT_EQ(kind.masked_select(text.eq(1)).max().item<int64_t>(), 0);
  const at::Tensor visual = file.read("/texts/visual_tokens"), tokens = file.read("/texts/tokens");
  EXPECT_EQ(visual[1].item<int64_t>(), 0);
  // (LLaVA-OneVision does not tile two pictures)
  for (const int64_t t : {0, 2}) EXPECT_GT(visual[t].item<int64_t>(), 0);
  const auto count = [&](const std::string& group) {
    return file.read(group + "/count").max().item<int64_t>();
  };
  EXPECT_EQ(count("/moments/visual_tokens"), visual.sum().item<int64_t>());
  EXPECT_EQ(count("/moments/text_tokens"), (tokens - visual).sum().item<int64_t>());
  EXPECT_EQ(file.read("/profile/visual_to_text/count").size(0), file.read("/profile/distance").size(0));
  EXPECT_THAT(std::get<std::string>(file.attribute("/pairs", "kinds")), HasSubstr("1 text_to_visual"));

  const std::string curves = folder_.path("d.h5");
  const CommandResult decay =
      run_ropescope("decay --quiet --by tokens --json --max-distance 8 --samples " + output + " --plot " +
                    folder_.path("d.svg") + " --output " + curves);
  ASSERT_EQ(decay.exit_code, 0) << decay.err;
  const Json report = parse_json(decay.out, "stdout");
  ASSERT_EQ(report["tokens"].size(), 4u);
  int64_t pairs = 0;
  for (const Json& one : report["tokens"]) pairs += one["count"].get<int64_t>();
  EXPECT_EQ(pairs, q.size(0));
  EXPECT_EQ(report["rows"][3]["by_tokens"]["mean"][0].size(), 4u);
  // The mean over all pairs is that of the kinds, weighted by their pairs.
  const ResultReader drawn(curves);
  const at::Tensor weights = drawn.read("/decay/tokens/count").to(at::kDouble);
  const at::Tensor mean = drawn.read("/decay/tokens/mean")[0];
  EXPECT_TRUE(testing::all_close((mean * weights.unsqueeze(1)).sum(0) / weights.sum(),
                                 drawn.read("/decay/mean")[0], 1e-9));
}

INSTANTIATE_TEST_SUITE_P(Families, SamplePictures,
                         ::testing::Values("qwen2_5_vl", "qwen3_vl", "gemma3", "internvl", "idefics3",
                                           "llava_onevision", "llava_next"),
                         [](const auto& family) { return family.param; });

using SamplePicturesOnce = SamplePictures;

TEST_F(SamplePicturesOnce, StreamedWeightsPicksAndClips) {
  ASSERT_EQ(sample("qwen3_vl", "--weights resident --moments --output " + folder_.path("a.h5")).exit_code, 0);
  ASSERT_EQ(sample("qwen3_vl", "--weights streamed --moments --output " + folder_.path("b.h5")).exit_code, 0);
  const CommandResult same =
      run_ropescope("compare --rtol 0 --atol 0 " + folder_.path("a.h5") + " " + folder_.path("b.h5"));
  EXPECT_EQ(same.exit_code, 0) << same.out;

  const std::string picks = folder_.path("picks.csv");
  std::ofstream(picks) << "text,layer,head,query,key\n2,1,0,30,2\n0,2,1,20,10\n1,0,0,3,1\n";
  ASSERT_EQ(sample("qwen3_vl", "--picks " + picks + " --output " + folder_.path("p.h5")).exit_code, 0);
  EXPECT_EQ(ResultReader(folder_.path("p.h5")).read("/pairs/kind")[2].item<int64_t>(), 0);

  std::filesystem::create_directories(folder_.path("clip"));
  for (int i = 0; i < 4; ++i) {
    const std::string name = "/frame" + std::to_string(i) + ".png";
    std::filesystem::copy(golden_path("vlm/images" + name), folder_.path("clip") + name);
  }
  write({{{"text", "<video>What happens?"}, {"videos", {"clip"}}, {"fps", 2}}});
  const CommandResult clip = sample("qwen2_5_vl", "--json --output " + folder_.path("v.h5"));
  ASSERT_EQ(clip.exit_code, 0) << clip.err;
  EXPECT_GT(ResultReader(folder_.path("v.h5")).read("/texts/visual_tokens")[0].item<int64_t>(), 0);
  EXPECT_GT(parse_json(clip.out, "stdout")["visual_tokens"].get<int64_t>(), 0);
}

TEST_F(SamplePicturesOnce, ResumingNoticesAnotherPictureOrWayToReadIt) {
  std::vector<Json> records;
  for (int i = 0; i < 60; ++i) {
    records.push_back(
        {{"text", "Picture " + std::to_string(i) + " of many."}, {"images", {"pictures/cat.png"}}});
  }
  write(records);
  const std::string output = folder_.path("s.h5"), state = output + ".state";
  const std::string flags = "sample --min-tokens 4 --moments --save-every 0 --weights resident" +
                            model("qwen3_vl") + " --texts " + texts() + " --output ";
  ASSERT_EQ(run_ropescope(flags + folder_.path("whole.h5")).exit_code, 0);
  const std::string script = testing::ropescope_path() + " " + flags + output +
                             " >/dev/null 2>&1 & pid=$!; for i in $(seq 600); do [ -e " + state +
                             " ] && break; sleep 0.02; done; kill -9 $pid; wait $pid 2>/dev/null; true";
  std::system(("bash -c '" + script + "'").c_str());
  if (!std::filesystem::exists(state)) GTEST_SKIP() << "the run was complete before it could be ended";
  const std::string picture = folder_.path("pictures") + "/cat.png";
  std::filesystem::copy(picture, folder_.path("kept.png"));
  std::filesystem::copy(folder_.path("pictures") + "/cup.png", picture,
                        std::filesystem::copy_options::overwrite_existing);
  const CommandResult other = run_ropescope(flags + output + " --resume");
  EXPECT_EQ(other.exit_code, 3);
  EXPECT_THAT(other.err, HasSubstr("cat.png"));
  std::filesystem::copy(folder_.path("kept.png"), picture, std::filesystem::copy_options::overwrite_existing);
  const CommandResult turned = run_ropescope(flags + output + " --resume --exif apply");
  EXPECT_EQ(turned.exit_code, 3);
  EXPECT_THAT(turned.err, HasSubstr("(exif: \"ignore\" then, \"apply\" now)"));
  const CommandResult resumed = run_ropescope(flags + output + " --resume");
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  const CommandResult same =
      run_ropescope("compare --rtol 0 --atol 0 " + folder_.path("whole.h5") + " " + output);
  EXPECT_EQ(same.exit_code, 0) << same.out;
}

TEST_F(SamplePicturesOnce, WhatDoesNotFitIsRefusedInOneSentence) {
  const std::string out = "--output " + folder_.path("s.h5");
  const auto refused = [&](const Json& record, const std::string& more = "") {
    write({record});
    const CommandResult run = sample("qwen3_vl", more + " " + out);
    EXPECT_EQ(run.exit_code, 3) << run.out;
    return run.err;
  };
  EXPECT_THAT(refused({{"text", kQuestion}, {"images", {"pictures/dog.png"}}}), HasSubstr("texts.jsonl:1: "));
  EXPECT_THAT(refused({{"text", "<image> and <image>"}, {"images", {"pictures/cat.png"}}}),
              HasSubstr("texts.jsonl:1: "));
  EXPECT_THAT(refused({{"text", kQuestion}, {"images", "pictures/cat.png"}}),
              HasSubstr("images: expected a list of file names"));
  EXPECT_THAT(refused({{"text", kQuestion}, {"videos", {"pictures"}}, {"fps", -1}}),
              HasSubstr("fps: expected"));
  EXPECT_THAT(refused({{"text", kQuestion}, {"images", {"pictures/cat.png"}}}, "--max-tokens 20"),
              HasSubstr("--max-tokens cuts at 20"));
  // A model without eyes says what it does not see.
  write({{{"text", "A text that names a picture, and is long enough."}, {"images", {"pictures/cat.png"}}}});
  const CommandResult blind =
      run_ropescope("sample --force --min-tokens 4 --model " +
                    golden_path("language/llama-tiny/safetensors-fp32") + " --texts " + texts() + " " + out);
  EXPECT_EQ(blind.exit_code, 0) << blind.err;
  EXPECT_THAT(blind.err, HasSubstr("the model sees no pictures"));
  EXPECT_FALSE(ResultReader(folder_.path("s.h5")).has("/pairs/kind"));
  const CommandResult by = run_ropescope("decay --by tokens --samples " + folder_.path("s.h5") +
                                         " --output " + folder_.path("d.h5"));
  EXPECT_EQ(by.exit_code, 2);
  EXPECT_THAT(by.err, HasSubstr("--by tokens: expected pairs of texts with pictures"));
}

}  // namespace
}  // namespace ropescope
