// Runs over rows with images: read ahead or not, stopped or not, with broken files or not.
#include "ropescope/train/trained_vlm.h"

#include <cmath>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/device.h"
#include "ropescope/core/errors.h"
#include "ropescope/text/tokenizer.h"
#include "ropescope/train/fresh_vlm.h"
#include "ropescope/train/training_run.h"
#include "ropescope/train/vlm_slots.h"

#include "tests/support/llava_next.h"
#include "tests/support/schemes.h"
#include "tests/support/tiny_llava.h"
#include "tests/support/training_runs.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
namespace fs = std::filesystem;

class TrainedLlavas : public ::testing::Test {
 protected:
  TrainedLlavas() { set_threads(1); }  // these products are too small to share

  TemporaryFolder folder_;
  std::string model_ = make_tiny_llava(folder_);
  std::string data_ = make_conversations(folder_, 20);
};

/// One process's worth of a run.
struct LlavaProcess {
  LlavaProcess(const std::string& model, const std::string& data, const std::string& output, int workers = 2,
               TrainingRunSettings settings = {}, int64_t bad_limit = 0,
               const std::string& scheme = "id-align", std::string images = synthetic_folder())
      : bad(bad_limit) {
    const auto checkpoint = open_checkpoint(model);
    llava = load_llava_next(model);
    tokenizer = load_tokenizer(model);
    ConversationRowOptions rows;
    rows.images = true;
    rows.image_folder = images;
    TrainedVlm::Settings how;
    how.image_folder = images;
    how.max_length = 400;
    how.loss.scheme = Scheme(scheme);
    how.unused_weights = unused_tower_weights(*checkpoint, llava);
    loader.emplace(PictureReader(model), DecodeOptions{}, workers);
    subject.emplace(llava, read_conversation_rows(data, *tokenizer, rows, bad), *tokenizer, *loader, bad,
                    how);
    Sampler::Settings order;
    order.kind = SamplerKind::kGroupByModalityLength;
    order.micro_batch = 3;
    order.accumulation = 2;
    sampler.emplace(subject->lengths(), order);
    ParameterGroup tower, rest;
    tower.pattern = "model.vision_tower.*";
    tower.learning_rate = 2e-4;
    rest.learning_rate = 2e-3;
    TrainerSettings training;
    training.schedule = {ScheduleKind::kCosine, 8, 1};
    trainer.emplace(AdamW(make_trainable(llava, {"*"}, {}), {tower, rest}, {}), training);
    checkpoints.emplace(fs::path(output) / "checkpoints", read_model_files(model));
    curves.emplace(fs::path(output) / "curves.h5", Provenance{});
    settings.total_steps = 8;
    settings.log_every = 0;
    settings.config = Json::object();
    run.emplace(*subject, *sampler, *trainer, *checkpoints, *curves, settings);
  }

  BadRows bad;
  Vlm llava;
  std::unique_ptr<Tokenizer> tokenizer;
  std::optional<ImageLoader> loader;
  std::optional<TrainedVlm> subject;
  std::optional<Sampler> sampler;
  std::optional<Trainer> trainer;
  std::optional<Checkpoints> checkpoints;
  std::optional<Curves> curves;
  std::optional<TrainingRun> run;
};

TEST_F(TrainedLlavas, LearnAndResumeBitForBitWhateverReadsTheImages) {
  LlavaProcess whole(model_, data_, folder_.path("whole"));
  const TrainingRunResult result = whole.run->run();
  EXPECT_LT(result.reports.back().loss, 0.7 * result.reports.front().loss);
  for (const int64_t stop : {1, 4}) {
    const std::string output = folder_.path("stopped" + std::to_string(stop));
    TrainingRunSettings settings;
    int64_t asked = 0;
    settings.interrupt = [&] { return ++asked == stop; };
    LlavaProcess first(model_, data_, output, /*workers=*/0, settings);
    EXPECT_TRUE(first.run->run().interrupted);
    LlavaProcess second(model_, data_, output, /*workers=*/3);
    second.run->resume(read_checkpoint(*second.checkpoints->latest()), false);
    second.run->run();
    expect_same_files(folder_.path("whole/checkpoints/step-8"), output + "/checkpoints/step-8",
                      {"model.safetensors", "optimizer.safetensors"});
  }
}

TEST_F(TrainedLlavas, CheckpointsAreModels) {
  LlavaProcess process(model_, data_, folder_.path("run"));
  process.run->run();
  const std::string saved = folder_.path("run") + "/checkpoints/step-8";
  const auto checkpoint = open_checkpoint(saved);
  Vlm loaded = load_llava_next(saved);
  const std::vector<TensorSlot> expected = vlm_slots(process.llava), found = vlm_slots(loaded);
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_TRUE(found[i].target->equal(expected[i].target->detach())) << found[i].name;
  }
  EXPECT_EQ(load_tokenizer(saved)->vocab_size(), load_tokenizer(model_)->vocab_size());
  // The tower's last layer, which nothing reads, is there still.
  EXPECT_NE(checkpoint->find("model.vision_tower.encoder.layers.2.mlp.fc1.weight"), nullptr);
  EXPECT_NE(checkpoint->find("model.vision_tower.post_layernorm.weight"), nullptr);
}

TEST_F(TrainedLlavas, AnOriginalCheckpointKeepsItsForm) {
  const fs::path original = golden_path("vision/llava-next-tiny-clip-llama/original");
  const std::vector<ModelFile> files = read_model_files(original);
  ASSERT_EQ(files.size(), 2u);
  EXPECT_EQ(files[1].name, "vision_tower/config.json");
  Vlm llava = load_llava_next(original);
  Checkpoints checkpoints(folder_.path("checkpoints"), files);
  SavedRun run;
  for (const TensorSlot& slot : vlm_slots(llava)) run.weights[slot.name] = *slot.target;
  const fs::path saved = checkpoints.save(run, 0);
  const Vlm loaded = load_llava_next(saved);
  EXPECT_TRUE(read_llava_config(saved).original);
  EXPECT_TRUE(loaded.eyes.image_newline.equal(llava.eyes.image_newline));
  EXPECT_TRUE(
      loaded.eyes.tower.weights.layers[1].q.weight.equal(llava.eyes.tower.weights.layers[1].q.weight));
}

TEST_F(TrainedLlavas, RowsWhoseImagesAreBrokenAreLeftOut) {
  const std::string images = folder_.path("images");
  fs::copy(synthetic_folder(), images);
  fs::resize_file(images + "/gray_37x53.png", 60);
  EXPECT_THROW(LlavaProcess(model_, data_, folder_.path("strict"), 2, {}, 0, "id-align", images).run->run(),
               InputError);
  LlavaProcess lenient(model_, data_, folder_.path("lenient"), 2, {}, 20, "id-align", images);
  lenient.run->run();
  EXPECT_GE(lenient.bad.count(), 3);
  // Such a row brings nothing to its micro-batch.
  std::vector<int64_t> broken, whole;
  for (int64_t i = 0; i < lenient.subject->rows(); ++i) {
    (lenient.subject->micro({i}).targets == 0 ? broken : whole).push_back(i);
  }
  EXPECT_EQ(static_cast<int64_t>(broken.size()), lenient.bad.count());
  const Trainer::Micro mixed = lenient.subject->micro({broken[0], whole[0]});
  EXPECT_EQ(mixed.names, std::vector<std::string>{lenient.subject->row_name(whole[0])});
  EXPECT_EQ(mixed.targets, lenient.subject->micro({whole[0]}).targets);
}

TEST_F(TrainedLlavas, AStepOfBrokenRowsAloneIsSkipped) {
  const std::string images = folder_.path("images");
  fs::create_directories(images);
  std::ofstream(images + "/a.png") << "no picture";
  const Json rows = Json::array({conversation_row("x", {"a.png"}, "What?", "That."),
                                 conversation_row("y", {"a.png"}, "What?", "That.")});
  std::ofstream(folder_.path("broken.json")) << rows.dump();
  LlavaProcess process(model_, folder_.path("broken.json"), folder_.path("run"), 1, {}, 2, "vanilla", images);
  EXPECT_TRUE(process.run->run().reports.empty());
  EXPECT_EQ(process.trainer->steps_done(), 8);
}

TEST_F(TrainedLlavas, EverySchemeTrains) {
  for (const std::string& scheme : runnable_schemes()) {
    SCOPED_TRACE(scheme);
    LlavaProcess process(model_, data_, folder_.path(test_name(scheme)), 0, {}, 0, scheme);
    const double before = process.trainer->step({process.subject->micro({0, 1, 3, 4})}).loss;
    for (int i = 0; i < 3; ++i) process.trainer->step({process.subject->micro({0, 1, 3, 4})});
    EXPECT_LT(process.trainer->step({process.subject->micro({0, 1, 3, 4})}).loss, before);
  }
}

TEST_F(TrainedLlavas, ANonFiniteLossNamesItsRows) {
  LlavaProcess process(model_, data_, folder_.path("run"));
  process.llava.eyes.image_newline.detach().fill_(std::numeric_limits<float>::quiet_NaN());
  try {
    process.run->run();
    FAIL() << "expected a NumericsError";
  } catch (const NumericsError& error) {
    EXPECT_NE(std::string(error.what()).find("row"), std::string::npos) << error.what();
  }
}

TEST(FreshLlavas, AreMadeOfADecoderATowerAndASeed) {
  const TemporaryFolder folder;
  const std::string decoder = golden_path("language/llama-tiny/safetensors-fp32");
  for (const char* name : {"clip-vision-tiny", "siglip-vision-tiny"}) {
    SCOPED_TRACE(name);
    const std::string tower = golden_path(std::string("vision/") + name);
    FreshVlm fresh = make_fresh_vlm(decoder, tower, 7, {});
    const FreshVlm again = make_fresh_vlm(decoder, tower, 7, {}),
                   other = make_fresh_vlm(decoder, tower, 8, {});
    const at::Tensor& weight = fresh.vlm.eyes.connector.weights.first.weight;
    EXPECT_TRUE(weight.equal(again.vlm.eyes.connector.weights.first.weight));
    EXPECT_FALSE(weight.equal(other.vlm.eyes.connector.weights.first.weight));
    const double bound = 1.0 / std::sqrt(static_cast<double>(weight.size(1)));
    EXPECT_LE(weight.abs().max().item<double>(), bound);
    EXPECT_NEAR(weight.std().item<double>(), bound / std::sqrt(3.0), 0.05 * bound);
    EXPECT_NEAR(fresh.vlm.eyes.image_newline.std().item<double>(),
                1.0 / std::sqrt(static_cast<double>(fresh.vlm.eyes.image_newline.size(0))), 0.05);
    // Its checkpoint is a model in the original form.
    Checkpoints checkpoints(folder.path(name), fresh.files);
    SavedRun run;
    for (const TensorSlot& slot : vlm_slots(fresh.vlm)) run.weights[slot.name] = *slot.target;
    const fs::path saved = checkpoints.save(run, 0);
    const Vlm loaded = load_llava_next(saved);
    EXPECT_TRUE(read_llava_config(saved).original);
    EXPECT_EQ(loaded.config.feature_layers, fresh.vlm.config.feature_layers);
    EXPECT_TRUE(
        loaded.eyes.connector.weights.second.bias.equal(fresh.vlm.eyes.connector.weights.second.bias));
    const PreprocessSettings settings = read_preprocess_settings(saved);
    EXPECT_EQ(settings.anyres->tile_size, fresh.anyres->anyres->tile_size);
    EXPECT_EQ(settings.anyres->pinpoints, fresh.anyres->anyres->pinpoints);
    EXPECT_EQ(settings.mean, fresh.anyres->mean);
  }
}

TEST(ImageLoading, ThreadsChangeNothing) {
  const TemporaryFolder folder;
  const std::string model = make_tiny_llava(folder);
  ImageLoader ahead(PictureReader(model), {}, 3), now(PictureReader(model), {}, 0);
  std::vector<std::vector<fs::path>> files;
  for (const std::string& name : synthetic_images()) files.push_back({fs::path(synthetic_folder()) / name});
  files.push_back({files[0][0], files[1][0]});
  for (size_t i = 0; i < files.size(); ++i) ahead.prefetch(static_cast<int64_t>(i), files[i]);
  ahead.prefetch(0, files[0]);  // again: nothing new
  for (size_t i = files.size(); i-- > 0;) {
    const auto one = ahead.take(static_cast<int64_t>(i), files[i]),
               other = now.take(static_cast<int64_t>(i), files[i]);
    ASSERT_EQ(one.size(), files[i].size());
    for (size_t j = 0; j < one.size(); ++j) {
      EXPECT_TRUE(one[j].pixels_u8.equal(other[j].pixels_u8));
      EXPECT_EQ(one[j].plan.tokens(), other[j].plan.tokens());
      EXPECT_FALSE(one[j].pixel_values.defined()) << "they wait as bytes";
    }
  }
  ahead.prefetch(7, {"/nowhere.png"});
  EXPECT_THROW(ahead.take(7, {"/nowhere.png"}), InputError);
  ahead.prefetch(8, files[0]);  // never taken
}

}  // namespace
}  // namespace ropescope
