// Sampling with streamed weights: the same bits as with weights in memory, however texts are put into waves, and after an
// interruption.
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <ATen/ops/equal.h>
#include <c10/core/InferenceMode.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/probe/sampler.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

Decoder load(WeightMode mode) {
  const std::string path = testing::golden_path("language/llama-tiny/bin-fp16");
  LoadOptions options;
  options.weights = mode;
  return load_decoder(std::shared_ptr<const Checkpoint>(open_checkpoint(path)), read_decoder_config(path),
                      options);
}

TextSet six_texts() {
  TextSet texts;
  for (int64_t t = 0; t < 6; ++t) {
    TokenizedText text{"text " + std::to_string(t), {}};
    for (int64_t i = 0; i < 9 + 4 * t; ++i) text.ids.push_back((37 * t + 11 * i * i + 5) % 350);
    texts.texts.push_back(std::move(text));
  }
  return texts;
}

SampleOptions everything() {
  SampleOptions options;
  options.moments = options.profile = true;
  options.draw.seed = 3;
  options.tokens_per_pass = 30;
  return options;
}

void expect_same(const Samples& a, const Samples& b) {
  EXPECT_TRUE(at::equal(a.pairs.q, b.pairs.q));
  EXPECT_TRUE(at::equal(a.pairs.k, b.pairs.k));
  EXPECT_TRUE(at::equal(a.moments->mean_k, b.moments->mean_k));
  EXPECT_TRUE(at::equal(a.moments->cov_q, b.moments->cov_q));
  EXPECT_TRUE(at::equal(a.moments->text_mean_q, b.moments->text_mean_q));
  EXPECT_TRUE(at::equal(a.profile->mean, b.profile->mean));
}

class StreamedSampling : public ::testing::Test {
 protected:
  Decoder resident_ = load(WeightMode::kResident), streamed_ = load(WeightMode::kStreamed);
  TextSet texts_ = six_texts();
  SampleOptions options_ = everything();
};

TEST_F(StreamedSampling, GivesTheSameBitsInAnyWaves) {
  const Samples whole = sample_texts(resident_, texts_, options_);
  for (const int64_t tokens : {1, 50, 100000}) {
    options_.tokens_per_wave = tokens;
    expect_same(whole, sample_texts(streamed_, texts_, options_));
  }
}

TEST_F(StreamedSampling, WavesHoldWhatTheyMay) {
  const auto waves = [&](int64_t tokens, size_t configs) {
    options_.tokens_per_wave = tokens;
    const SampleRun run(streamed_, texts_, options_, std::vector<DecoderConfig>(configs, streamed_.config));
    int64_t steps = 0;
    for (size_t w = 0; w < run.waves(); ++w) steps += run.steps(w);
    EXPECT_EQ(steps, static_cast<int64_t>(5 * configs) * streamed_.config.num_hidden_layers);
    return run.waves();
  };
  // Texts of 9, 13, 17, 21, 25, 29 tokens in passes of at most 30: 22, 17, 21, 25, 29.
  EXPECT_EQ(waves(100000, 1), 1u);
  EXPECT_EQ(waves(1, 1), 5u);
  EXPECT_EQ(waves(60, 1), 2u);
  EXPECT_EQ(waves(60, 2), 5u);
}

TEST_F(StreamedSampling, SeveralBasesShareOneReading) {
  std::vector<DecoderConfig> configs(3, streamed_.config);
  for (size_t c = 0; c < configs.size(); ++c) {
    for (RopeConfig& rope : configs[c].ropes) rope.theta *= static_cast<double>(1 + 9 * c);
  }
  SampleRun run(streamed_, texts_, options_, configs);
  ASSERT_EQ(run.waves(), 1u);
  run.run_wave(0);
  const std::vector<Samples> all = run.result();
  ASSERT_EQ(all.size(), 3u);
  for (size_t c = 0; c < configs.size(); ++c) {
    SCOPED_TRACE(c);
    Decoder decoder = resident_;
    decoder.config = configs[c];
    expect_same(sample_texts(decoder, texts_, options_), all[c]);
  }
  EXPECT_FALSE(at::equal(all[0].pairs.q, all[1].pairs.q));
}

TEST_F(StreamedSampling, GoesOnFromItsState) {
  options_.tokens_per_wave = 60;
  const Samples whole = sample_texts(streamed_, texts_, options_);
  SampleRun first(streamed_, texts_, options_);
  first.run_wave(0);
  SampleRun second(streamed_, texts_, options_);
  {
    const c10::InferenceMode as_the_run;
    const auto from = first.state(), to = second.state();
    ASSERT_EQ(from.size(), to.size());
    for (size_t i = 0; i < from.size(); ++i) {
      EXPECT_EQ(from[i].first, to[i].first);
      to[i].second.copy_(from[i].second);
    }
  }
  for (size_t wave = 1; wave < second.waves(); ++wave) second.run_wave(wave);
  expect_same(whole, second.result().front());
}

// Two processes take passes as they come; a third adds them up in the order of the passes.
TEST_F(StreamedSampling, PassesTakenApartAddUpToTheSameBits) {
  const Samples whole = sample_texts(resident_, texts_, options_);
  SampleRun one(streamed_, texts_, options_), other(resident_, texts_, options_),
      sums(resident_, texts_, options_);
  ASSERT_EQ(sums.passes(), 5u);
  std::map<size_t, TakenTensors> taken;
  const KeepTaken keep = [&](size_t pass, const std::string& name, const at::Tensor& tensor) {
    EXPECT_TRUE(taken[pass].emplace(name, tensor).second) << name;
  };
  one.choose({4, 1});
  for (size_t wave = 0; wave < one.waves(); ++wave) one.run_wave(wave, {}, keep);
  other.choose({0, 3, 2});
  for (size_t wave = 0; wave < other.waves(); ++wave) {
    EXPECT_EQ(other.passes_of(wave).size(), 1u);
    other.run_wave(wave, {}, keep);
  }
  for (size_t pass = 0; pass < sums.passes(); ++pass) {
    EXPECT_LE(static_cast<int64_t>(taken.at(pass).size()), sums.most_tensors(pass));
    sums.add(pass, taken.at(pass));
  }
  // All of it is taken here, so the room in front of a part, which readers limit, is no larger than it has to be.
  EXPECT_EQ(static_cast<int64_t>(taken.at(0).size()), sums.most_tensors(0));
  expect_same(whole, sums.result().front());
  taken.at(2).erase(taken.at(2).begin());
  EXPECT_THROW(sums.add(2, taken.at(2)), InputError);
}

}  // namespace
}  // namespace ropescope
