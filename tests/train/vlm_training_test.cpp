// Losses and gradients of the vision-language families: equal to what the reference's logits come to
// (tests/golden/vlm), and to differences of the loss itself.
#include <map>

#include <gtest/gtest.h>

#include <ATen/core/Reduction.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/tensor.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/autograd.h"
#include "ropescope/core/device.h"
#include "ropescope/inputs/picture_reader.h"
#include "ropescope/train/vlm_batch.h"
#include "ropescope/train/vlm_slots.h"

#include "tests/support/finite_differences.h"
#include "tests/support/golden_vlm.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

constexpr int64_t kNoLabel = -100;

class VlmTraining : public ::testing::TestWithParam<std::string> {
 protected:
  VlmTraining() { set_threads(1); }  // these products are too small to share

  static Vlm load(const std::string& family, at::ScalarType type = at::kFloat) {
    const std::string path = golden_path("vlm/" + family);
    const Json config = golden_json(vlm_file(family, "config.json"));
    LoadOptions options;
    options.dtype = type;
    return load_vlm(open_checkpoint(path), parse_vlm_config(config, path), read_decoder_config(path), path,
                    options);
  }
  const at::Tensor& golden(const std::string& name) const { return golden_.at(name); }
  const at::Tensor* find(const std::string& name) const {
    const auto found = golden_.find(name);
    return found == golden_.end() ? nullptr : &found->second;
  }

  /// A case with the reference's own pixels. Labels are all words of which the reference's logits are known.
  VlmRow row(const Json& one, int64_t& first_known) const {
    const std::string name = one.at("name");
    VlmRow made;
    made.name = name;
    const at::Tensor ids = golden(name + ".input_ids").to(at::kLong).contiguous();
    made.text.ids.assign(ids.const_data_ptr<int64_t>(), ids.const_data_ptr<int64_t>() + ids.numel());
    first_known = one.value("logits_from_row", int64_t{0});
    for (size_t i = 0; i < made.text.ids.size(); ++i) {
      made.text.labels.push_back(static_cast<int64_t>(i) > first_known ? made.text.ids[i] : kNoLabel);
    }
    const auto files = one.value("images", std::vector<std::string>{});
    std::vector<MediaPlan> plans;
    for (const std::string& file : files) {
      const at::Tensor rgb = read_image(golden_path("vlm/images/" + file + ".png"), {}).rgb_HW3;
      plans.push_back(reader_.plan_image(rgb.size(1), rgb.size(0), files.size()));
    }
    at::Tensor pixels = plans.empty() ? at::Tensor() : golden(name + ".pixel_values");
    int64_t first = 0;
    for (size_t i = 0; i < plans.size(); ++i) {
      const auto& grid = plans[i].grid_thw;
      const int64_t patches = grid[0] * grid[1] * grid[2], count = patches > 0 ? patches : plans[i].tiles;
      MediaItem item;
      item.plan = plans[i];
      // [pictures, most tiles, 3, S, S], or all of them one after the other.
      const bool by_picture = pixels.dim() == 5 && pixels.size(0) == static_cast<int64_t>(plans.size());
      if (by_picture) {
        item.pixel_values = pixels[static_cast<int64_t>(i)].narrow(0, 0, count);
      } else {
        const at::Tensor flat = pixels.dim() == 5 ? pixels.flatten(0, 1) : pixels;
        item.pixel_values = flat.narrow(0, first, count);
        first += count;
      }
      made.items.push_back(item);
    }
    return made;
  }

  /// The same rows' negative log-likelihood from the reference's logits.
  double reference(const VlmRow& row, int64_t first_known, const MediaMarks& marks) const {
    const at::Tensor& logits = golden(row.name + ".logits");
    std::vector<int64_t> targets;
    for (size_t i = static_cast<size_t>(first_known) + 1; i < row.text.ids.size(); ++i) {
      targets.push_back(marks.holds(row.text.ids[i]) ? kNoLabel : row.text.labels[i]);
    }
    return at::cross_entropy_loss(logits.narrow(0, 0, logits.size(0) - 1).to(at::kDouble),
                                  at::tensor(targets, at::kLong), {}, at::Reduction::Sum, kNoLabel)
        .item<double>();
  }

  std::vector<Json> still_cases() const {
    std::vector<Json> cases;
    for (const Json& one : vlm_cases(GetParam())) {
      const std::string name = one.at("name");
      // (A flat list of pictures is no prompt of a chat template.)
      if (name.find("video") == std::string::npos && name.find("flat_list") == std::string::npos)
        cases.push_back(one);
    }
    return cases;
  }

  std::map<std::string, at::Tensor> golden_ = golden_tensors(vlm_file(GetParam(), "expected.safetensors"));
  PictureReader reader_ = PictureReader(golden_path("vlm/" + GetParam()));
};

const std::vector<std::string>& trained_families() {
  static const std::vector<std::string> all = {"qwen2_5_vl", "qwen2_vl",        "qwen3_vl",
                                               "internvl",   "llava_onevision", "idefics3",
                                               "smolvlm",    "llava",           "glm4v"};
  return all;
}

INSTANTIATE_TEST_SUITE_P(Families, VlmTraining, ::testing::ValuesIn(trained_families()),
                         [](const auto& instance) { return instance.param; });

TEST_P(VlmTraining, LossesAreThoseOfTheReferenceAloneAndTogether) {
  Vlm vlm = load(GetParam());
  const std::vector<Parameter> parameters = make_trainable(vlm, {"*"}, {});
  const MediaMarks marks = media_marks(vlm.config);
  std::vector<VlmRow> rows;
  double sum = 0;
  size_t pictures = 0;
  for (const Json& one : still_cases()) {
    if (one.at("name") == "pan_and_scan" || one.at("name") == "not_split" ||
        one.at("name") == "padded_to_square")
      continue;
    SCOPED_TRACE(one.at("name").get<std::string>());
    int64_t first_known = 0;
    rows.push_back(row(one, first_known));
    const double expected = reference(rows.back(), first_known, marks);
    sum += expected;
    pictures = std::max(pictures, rows.back().items.size());
    EXPECT_EQ(expanded_length(rows.back(), marks), one.at("length").get<int64_t>());
    const Trainer::Micro micro = vlm_micro(vlm, {rows.back()});
    EXPECT_EQ(micro.tokens, one.at("length").get<int64_t>());
    EXPECT_NEAR(vlm_loss(vlm, {rows.back()}, 1.0).item<double>(), expected, 2e-5 * expected);
  }
  EXPECT_GE(pictures, 2u);
  ASSERT_GE(rows.size(), 4u);
  size_t most = 0;
  for (const auto& group : group_rows(rows, vlm, {})) most = std::max(most, group.size());
  EXPECT_GE(most, 2u) << "rows of different lengths and pictures go together";
  const at::Tensor together = vlm_loss(vlm, rows, 1.0);
  EXPECT_NEAR(together.item<double>(), sum, 2e-5 * sum);
  torch::autograd::backward({together}, {});
  std::vector<at::Tensor> gradients;
  for (const Parameter& parameter : parameters) {
    // (a position table's row that no picture reaches stays without)
    EXPECT_TRUE(parameter.value.grad().defined()) << parameter.name;
    gradients.push_back(parameter.value.grad().clone());
  }
  // Packed, the same.
  drop_gradients(parameters);
  ModelLossOptions packing;
  packing.packing = true;
  const at::Tensor packed = vlm_loss(vlm, rows, 1.0, packing);
  EXPECT_NEAR(packed.item<double>(), together.item<double>(), 1e-6 * sum);
  torch::autograd::backward({packed}, {});
  double largest = 0;
  for (const at::Tensor& gradient : gradients)
    largest = std::max(largest, gradient.abs().max().item<double>());
  for (size_t i = 0; i < parameters.size(); ++i) {
    // (a bias of keys moves nothing: its gradient is what rounding leaves)
    const double size = std::max(gradients[i].abs().max().item<double>(), 1e-2 * largest);
    EXPECT_TRUE(all_close(parameters[i].value.grad(), gradients[i], 1e-5 * size)) << parameters[i].name;
  }
}

/// Some parameters of tower, connector and decoder.
std::vector<at::Tensor> some_leaves(Vlm& vlm) {
  VisionPart& eyes = vlm.eyes;
  std::vector<at::Tensor> leaves = {
      eyes.tower.weights.patch.weight,         eyes.tower.weights.layers[0].q.weight,
      eyes.tower.weights.layers[1].fc2.weight, eyes.connector.weights.first.weight,
      vlm.decoder.weights.layers[0].q,         vlm.decoder.weights.embed_tokens};
  if (eyes.tower.weights.position.defined()) leaves.push_back(eyes.tower.weights.position);
  if (eyes.image_newline.defined()) leaves.push_back(eyes.image_newline);
  for (const MergerWeights& deep : eyes.connector.deepstack) leaves.push_back(deep.first.weight);
  return leaves;
}

/// The loss of rows one by one, in the model's own type throughout.
at::Tensor plain_loss(const Vlm& vlm, const std::vector<VlmRow>& rows, double scale) {
  at::Tensor sum;
  for (size_t i = 0; i < rows.size(); ++i) {
    const VlmBatch batch = batch_rows(rows, {i}, vlm, {});
    ForwardInput input;
    embed(vlm, batch.prompt, see(vlm, batch.items)).give(input);
    input.encoding = &batch.encoding;
    ForwardOptions options;
    options.logits = ForwardOptions::Logits::kNone;
    const at::Tensor hidden = forward(vlm.decoder, input, options).final_hidden[0];
    const at::Tensor logits =
        at::linear(hidden.narrow(0, 0, hidden.size(0) - 1), vlm.decoder.weights.lm_head);
    const at::Tensor loss = at::cross_entropy_loss(logits, batch.labels[0].narrow(0, 1, logits.size(0)), {},
                                                   at::Reduction::Sum, kNoLabel);
    sum = sum.defined() ? sum.add(loss) : loss;
  }
  return sum.mul(scale);
}

TEST_P(VlmTraining, GradientsAreDifferencesOfALossComputedPlainly) {
  constexpr double kScale = 0.01;
  std::vector<VlmRow> rows;
  int64_t first_known = 0;
  for (const Json& one : still_cases()) {
    if (one.at("name") == "one_image" || one.at("name") == "text_only") rows.push_back(row(one, first_known));
  }
  ASSERT_EQ(rows.size(), 2u);
  Vlm trained = load(GetParam());
  make_trainable(trained, {"*"}, {});
  torch::autograd::backward({vlm_loss(trained, rows, kScale)}, {});
  std::vector<at::Tensor> found;
  for (const at::Tensor& leaf : some_leaves(trained)) found.push_back(leaf.grad().to(at::kDouble));

  Vlm exact = load(GetParam(), at::kDouble);
  make_trainable(exact, {"*"}, {});
  for (MediaItem& item : rows.front().items) item.pixel_values = item.pixel_values.to(at::kDouble);
  const auto loss = [&] { return plain_loss(exact, rows, kScale); };
  const std::vector<at::Tensor> leaves = some_leaves(exact);
  expect_finite_differences(loss, leaves, 5e-5);
  const auto expected = torch::autograd::grad({loss()}, leaves);
  for (size_t i = 0; i < leaves.size(); ++i) {
    const double size = expected[i].abs().max().item<double>();
    EXPECT_GT(size, 0.0) << "leaf " << i;
    EXPECT_TRUE(all_close(found[i], expected[i], 1e-4 * size)) << "leaf " << i;
  }
}

TEST_P(VlmTraining, NamesAreThoseOfTheFileButForAFusedQkv) {
  Vlm vlm = load(GetParam());
  const auto file = open_checkpoint(golden_path("vlm/" + GetParam()));
  for (const TensorSlot& slot : vlm_slots(vlm)) {
    const TensorInfo* info = file->find(slot.file_name());
    ASSERT_NE(info, nullptr) << slot.file_name();
    EXPECT_EQ(info->shape, slot.file_shape()) << slot.name;
  }
  // The patterns of the stages divide what sees into two.
  const std::vector<std::string> connector = connector_patterns(vlm.config),
                                 tower = tower_patterns(vlm.config);
  size_t of_connector = 0, of_tower = 0;
  for (const TensorSlot& slot : vlm_slots(vlm)) {
    const bool one = name_matches_any(slot.name, connector), other = name_matches_any(slot.name, tower);
    EXPECT_FALSE(one && other) << slot.name;
    of_connector += one ? 1 : 0;
    of_tower += other ? 1 : 0;
  }
  EXPECT_EQ(of_connector, connector_slots(vlm.eyes.connector).size());
  EXPECT_EQ(of_tower + of_connector + (vlm.config.has_newline ? 1 : 0), vision_part_slots(vlm.eyes).size());
}

// Ids of the reference's reading of ID-Align give its last logits; a word behind them is the only target.
TEST(VlmSchemes, IdAlignIsThatOfTheReferenceInALoss) {
  set_threads(1);
  for (const std::string family : {"internvl", "llava_onevision"}) {
    SCOPED_TRACE(family);
    const std::string path = golden_path("vlm/" + family);
    const auto golden = golden_tensors(vlm_file(family, "expected.safetensors"));
    const Vlm vlm =
        load_vlm(open_checkpoint(path), parse_vlm_config(golden_json(vlm_file(family, "config.json")), path),
                 read_decoder_config(path), path, {});
    const PictureReader reader(path);
    const at::Tensor rgb =
        read_image(
            golden_path("vlm/images/" + std::string(family == "internvl" ? "cat" : "mini_wide") + ".png"), {})
            .rgb_HW3;
    VlmRow row;
    row.name = "one_image";
    const at::Tensor ids = golden.at("one_image.input_ids").to(at::kLong).contiguous();
    row.text.ids.assign(ids.const_data_ptr<int64_t>(), ids.const_data_ptr<int64_t>() + ids.numel());
    constexpr int64_t kWord = 7;
    row.text.ids.push_back(kWord);
    row.text.labels.assign(row.text.ids.size(), kNoLabel);
    row.text.labels.back() = kWord;
    MediaItem item;
    item.plan = reader.plan_image(rgb.size(1), rgb.size(0));
    const at::Tensor pixels = golden.at("one_image.pixel_values");
    item.pixel_values = (pixels.dim() == 5 ? pixels.flatten(0, 1) : pixels).narrow(0, 0, item.plan.tiles);
    row.items.push_back(item);
    ModelLossOptions options;
    options.scheme = Scheme("id-align");
    const double found = vlm_loss(vlm, {row}, 1.0, options).item<double>();
    double nearest = 1e9;
    for (const char* reading : {"counted", "inherit"}) {
      const at::Tensor logits =
          golden.at(std::string("one_image.idalign.") + reading + ".last_logits").to(at::kDouble);
      nearest = std::min(nearest, std::abs(found + logits.log_softmax(0)[kWord].item<double>()));
    }
    EXPECT_LT(nearest, 2e-4);
  }
}

}  // namespace
}  // namespace ropescope
