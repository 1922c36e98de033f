// What a model may say that its tokenizer has no words for.
#include "ropescope/text/generated_text.h"

#include <gtest/gtest.h>

#include "ropescope/core/errors.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

TEST(GeneratedText, RowsOfTheEmbeddingsBeyondTheVocabularyHaveNoText) {
  const auto tokenizer = load_tokenizer(testing::golden_path("vision/conversations/llama-tiny"));
  const std::vector<int64_t> ids = tokenizer->encode("a tale", {});
  std::vector<int64_t> with_unknown = ids;
  with_unknown.insert(with_unknown.begin() + 2, tokenizer->vocab_size());
  with_unknown.push_back(tokenizer->vocab_size() + 83);
  EXPECT_EQ(decode_generated(*tokenizer, with_unknown, false), tokenizer->decode(ids, false));
  EXPECT_THROW(tokenizer->decode(with_unknown, false), InputError);
  EXPECT_THROW(decode_generated(*tokenizer, std::vector<int64_t>{-1}, false), InputError);
}

}  // namespace
}  // namespace ropescope
