// `ropescope trace` on vision-language families, as a user runs it: a processor's tensors, and picture files with text,
// against what the families' own implementations gave (tests/golden/vlm).
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/equal.h>

#include "ropescope/io/result_file.h"

#include "tests/support/golden.h"
#include "tests/support/golden_vlm.h"
#include "tests/support/vision_files.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return a.numel() == 0 ? 0 : a.to(at::kDouble).sub(b.to(at::kDouble)).abs().max().item<double>();
}

class TraceVlm : public ::testing::TestWithParam<std::string> {
 protected:
  const std::string family_ = GetParam();
  const std::map<std::string, at::Tensor> golden_ =
      golden_tensors(vlm_file(GetParam(), "expected.safetensors"));
  const std::vector<Json> cases_ = vlm_cases(GetParam());
  TemporaryFolder folder_;

  std::optional<at::Tensor> golden(const std::string& name) const {
    const auto found = golden_.find(name);
    return found == golden_.end() ? std::nullopt : std::optional(found->second);
  }
  std::string out() const { return folder_.path("trace.h5"); }
  at::Tensor dataset(const std::string& name) const { return ResultReader(out()).read("/trace/" + name); }
  bool has(const std::string& name) const { return ResultReader(out()).has("/trace/" + name); }

  void trace(const std::string& model, const std::string& flags) const {
    const CommandResult result =
        run_ropescope("trace --quiet --force --output '" + out() + "' --model '" + model + "' " + flags);
    ASSERT_EQ(result.exit_code, 0) << result.err;
  }
  std::string model() const { return golden_path("vlm/" + family_); }

  /// --tokens and --pixels of a case; the reference's positions where its rule is not the default.
  std::string given(
      const std::string& name,
      const std::string& dump = "logits,image_features,video_features,deepstack,vision_hidden") const {
    const at::Tensor ids = golden_.at(name + ".input_ids").reshape({-1}).contiguous();
    const auto* id = ids.const_data_ptr<int64_t>();
    Json json = {{"input_ids", {std::vector<int64_t>(id, id + ids.numel())}}};
    if (golden(name + ".position_ids_transformers4")) {
      const at::Tensor rows = golden_.at(name + ".position_ids").to(at::kLong).reshape({3, -1}).contiguous();
      Json axes = Json::array();
      for (int64_t axis = 0; axis < 3; ++axis) {
        const auto* position = rows[axis].const_data_ptr<int64_t>();
        axes.push_back({std::vector<int64_t>(position, position + rows.size(1))});
      }
      json["position_ids"] = axes;
    }
    std::ofstream(folder_.path("tokens.json")) << json.dump();
    std::map<std::string, at::Tensor> tensors;
    for (const char* key :
         {"pixel_values", "pixel_values_videos", "image_grid_thw", "video_grid_thw", "second_per_grid_ts",
          "image_sizes", "batch_num_images", "token_type_ids", "mm_token_type_ids", "pixel_attention_mask"}) {
      if (const auto tensor = golden(name + "." + key)) tensors[key] = *tensor;
    }
    std::string flags = "--tokens '" + folder_.path("tokens.json") + "'";
    if (!tensors.contains("pixel_values") && !tensors.contains("pixel_values_videos")) return flags;
    write_safetensors(folder_.path("pixels.safetensors"), tensors);
    return flags + " --pixels '" + folder_.path("pixels.safetensors") + "' --dump " + dump;
  }

  /// --text, --image and --video of a case.
  std::string files(const Json& one) const {
    std::string flags = "--text '" + one.at("text").get<std::string>() + "'";
    std::string images;
    for (const Json& image : one.at("images")) {
      images += (images.empty() ? "" : ",") + golden_path("vlm/images/" + image.get<std::string>() + ".png");
    }
    if (!images.empty()) flags += " --image '" + images + "'";
    const auto frames = one.at("video_frames").get<int64_t>();
    if (frames == 0) return flags;
    const fs::path clip = folder_.path("clip");
    fs::create_directories(clip);
    for (int64_t i = 0; i < frames; ++i) {
      const std::string name = "frame" + std::to_string(i) + ".png";
      fs::copy_file(golden_path("vlm/images/" + name), clip / name, fs::copy_options::overwrite_existing);
    }
    return flags + " --video '" + clip.string() + "' --fps " +
           std::to_string(one.at("video_fps").get<double>());
  }

  double tolerance() const { return family_ == "qwen3_5" ? 1e-3 : 2e-4; }

  void expect_close(const std::string& mine, const std::string& theirs, double bound) const {
    const auto wanted = golden(theirs);
    if (!wanted) return;
    ASSERT_TRUE(has(mine)) << theirs;
    const at::Tensor found = dataset(mine);
    EXPECT_EQ(found.numel(), wanted->numel()) << theirs;
    EXPECT_LE(largest_difference(found.reshape({-1}), wanted->reshape({-1})), bound) << theirs;
  }

  /// Position ids of a case, a single row standing for all.
  void expect_positions(const at::Tensor& wanted) const {
    const at::Tensor ids = dataset("position_ids").squeeze(1);
    const at::Tensor rows = wanted.to(at::kDouble).reshape({-1, ids.size(1)});
    EXPECT_TRUE(at::equal(ids.expand({rows.size(0), ids.size(1)}), rows));
  }
};

INSTANTIATE_TEST_SUITE_P(Families, TraceVlm, ::testing::ValuesIn(golden_vlm_families()),
                         [](const auto& family) { return family.param; });

TEST_P(TraceVlm, ProcessorsTensorsGiveTheReferencesNumbers) {
  for (const Json& one : cases_) {
    const auto name = one.at("name").get<std::string>();
    SCOPED_TRACE(name);
    trace(model(), given(name) + " --generate 8");
    if (HasFatalFailure()) return;
    expect_positions(golden_.at(name + ".position_ids"));
    expect_close("image_features", name + ".image_features", 3e-5);
    expect_close("video_features", name + ".video_features", 3e-5);
    for (int j = 0; j < 4; ++j) {
      for (const std::string kind : {"image", "video"}) {
        const std::string level = kind + "_deepstack";
        expect_close(level + "/" + std::to_string(j), name + "." + level + "." + std::to_string(j), 3e-5);
      }
    }
    for (int depth = 0; depth < 5; ++depth) {
      const std::string number = std::to_string(depth);
      expect_close("vision_hidden/" + number, name + ".vision_hidden." + number, 3e-5);
    }
    const at::Tensor wanted = golden_.at(name + ".logits");
    const at::Tensor logits = dataset("logits")[0];
    const int64_t rows = wanted.numel() / wanted.size(-1);
    EXPECT_LE(largest_difference(logits.narrow(0, logits.size(0) - rows, rows), wanted.reshape({rows, -1})),
              tolerance());
    const auto at_delta = golden(name + ".generated_at_rope_delta");
    const at::Tensor generated = at_delta ? *at_delta : golden_.at(name + ".generated");
    EXPECT_TRUE(at::equal(dataset("generated").reshape({-1}), generated.reshape({-1})));
  }
}

TEST_P(TraceVlm, PicturesAndTextGiveTheProcessorsTokens) {
  // Cases for which the reference's processor was called with settings that its files do not have.
  const std::set<std::string> called_otherwise = {"two_images_flat_list", "not_split", "pan_and_scan",
                                                  "pan_and_scan_strip", "padded_to_square"};
  for (const Json& one : cases_) {
    const auto name = one.at("name").get<std::string>();
    SCOPED_TRACE(name);
    if (called_otherwise.contains(name)) continue;
    trace(model(), files(one));
    if (HasFatalFailure()) return;
    const at::Tensor wanted = golden_.at(name + ".input_ids").reshape({-1});
    ASSERT_TRUE(at::equal(dataset("input_ids").reshape({-1}), wanted));
    const auto older = golden(name + ".position_ids_transformers4");
    expect_positions(older ? *older : golden_.at(name + ".position_ids"));
    const auto pillow = golden(name + ".pillow.last_logits");
    // (of clips the reference has no Pillow path)
    if (!pillow || older || one.at("video_frames").get<int64_t>() > 0) continue;
    const at::Tensor logits = dataset("logits");
    EXPECT_LE(largest_difference(logits[0][logits.size(1) - 1], pillow->reshape({-1})), tolerance());
  }
}

TEST_P(TraceVlm, IdAlignInAllItsReadings) {
  for (const Json& one : cases_) {
    const auto name = one.at("name").get<std::string>();
    for (const std::string reading : {"counted", "inherit", "in_place"}) {
      const auto ids = golden(name + ".idalign." + reading);
      if (!ids) continue;
      SCOPED_TRACE(name + ", " + reading);
      // Where InternVL's and Gemma's tiles lie is told by the pixels, where Idefics' do by the tags.
      trace(model(), given(name, /*dump=*/"logits") + " --scheme id-align:newline=" + reading);
      if (HasFatalFailure()) return;
      expect_positions(*ids);
      const at::Tensor logits = dataset("logits");
      EXPECT_LE(largest_difference(logits[0][logits.size(1) - 1],
                                   golden_.at(name + ".idalign." + reading + ".last_logits").reshape({-1})),
                tolerance());
      if (reading != "inherit" || name.starts_with("pan_and_scan")) continue;
      trace(model(), files(one) + " --scheme id-align");
      if (HasFatalFailure()) return;
      expect_positions(*ids);
    }
  }
}

TEST_P(TraceVlm, PublicFormOfTheFolderGivesTheSameBits) {
  if (!fs::exists(golden_path("vlm/" + family_ + "/config.old.json")))
    GTEST_SKIP() << "there is one form only";
  const fs::path folder = folder_.path("public");
  fs::create_directories(folder);
  const fs::path own = model();
  for (const char* name : {"model.safetensors", "tokenizer.json", "tokenizer_config.json"}) {
    fs::copy_file(own / name, folder / name);
  }
  fs::copy_file(own / "config.old.json", folder / "config.json");
  fs::copy_file(own / "preprocessor_config.old.json", folder / "preprocessor_config.json");
  trace(model(), given("one_image"));
  if (HasFatalFailure()) return;
  const at::Tensor first = dataset("logits");
  trace(folder.string(), given("one_image"));
  if (HasFatalFailure()) return;
  EXPECT_TRUE(at::equal(dataset("logits"), first));
}

TEST(TraceVlmRefusals, SayWhatIsMissing) {
  TemporaryFolder folder;
  const std::string common = "trace --output '" + folder.path("t.h5") + "' --model '";
  const std::string picture = golden_path("vlm/images/cat.png");
  const CommandResult text_of_pixels =
      run_ropescope(common + golden_path("vlm/internvl") + "' --text Hi --pixels '" + picture + "'");
  EXPECT_EQ(text_of_pixels.exit_code, 2);
  EXPECT_THAT(text_of_pixels.err, HasSubstr("expected --tokens with the expanded input_ids"));
  const CommandResult clip = run_ropescope(common + golden_path("vlm/llava") +
                                           "' --text '<video>Hi' --video '" + folder.path("") + "' --fps 2");
  EXPECT_EQ(clip.exit_code, 3);
  EXPECT_THAT(clip.err, HasSubstr("clips are not supported"));
  // Marks without a picture are run as words, which is said.
  const CommandResult words =
      run_ropescope(common + golden_path("vlm/qwen2_vl") +
                    "' --force --text '<|vision_start|><|image_pad|><|vision_end|>Hi'");
  EXPECT_EQ(words.exit_code, 0) << words.err;
  EXPECT_THAT(words.err,
              HasSubstr("1 of the prompt's tokens stand for pictures or clips, and none is given"));
  const CommandResult marks = run_ropescope(common + golden_path("vlm/qwen2_vl") +
                                            "' --text '<image><image>Hi' --image '" + picture + "'");
  EXPECT_EQ(marks.exit_code, 3) << marks.err;
}

}  // namespace
}  // namespace ropescope
