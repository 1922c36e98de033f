// Tokens a second on one thread, English text. ROPESCOPE_MODEL names another model than the tiny
// SentencePiece one of the tests (a folder or a .gguf file).
#include <cstdlib>
#include <string>

#include <benchmark/benchmark.h>

#include "ropescope/text/tokenizer.h"

namespace {

// About 200 kB of prose: repeated sentences with running numbers, so that not every word is a repetition.
std::string english_text() {
  std::string text;
  for (int i = 0; text.size() < 200'000; ++i) {
    text += "In section " + std::to_string(i) +
            " the committee described, at some length, how attention between distant words weakens; whether "
            "it should do so "
            "depends on what the words mean. Nobody objected. ";
  }
  return text;
}

void encode(benchmark::State& state) {
  const char* model = std::getenv("ROPESCOPE_MODEL");
  const std::string path =
      model != nullptr ? model : RS_SOURCE_DIR "/tests/golden/language/llama-tiny/safetensors-fp32";
  const auto tokenizer = ropescope::load_tokenizer(path);
  const std::string text = english_text();
  int64_t tokens = 0;
  for (auto _ : state) tokens += static_cast<int64_t>(tokenizer->encode(text, {}).size());
  state.SetItemsProcessed(tokens);
  state.SetLabel(tokenizer->description());
}
BENCHMARK(encode)->Unit(benchmark::kMillisecond);

}  // namespace
