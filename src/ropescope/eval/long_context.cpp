#include "ropescope/eval/long_context.h"

#include <algorithm>
#include <cmath>

#include "ropescope/core/errors.h"
#include "ropescope/core/numbers.h"
#include "ropescope/core/sha256.h"
#include "ropescope/eval/python_text.h"
#include "ropescope/text/chat_template.h"
#include "ropescope/text/corpus.h"

namespace ropescope::eval {

namespace fs = std::filesystem;

namespace {

void append_distractor(std::string& corpus, const std::string& content) {
  Text text(strip(from_utf8(content)));
  std::replace(text.begin(), text.end(), U'\n', U' ');
  corpus += to_utf8(text);
}

}  // namespace

std::string join_distractors(const std::map<std::string, std::string>& files) {
  std::string corpus;
  for (const auto& [name, content] : files) append_distractor(corpus, content);
  return corpus;
}

DistractorCorpus read_distractor_corpus(const fs::path& path) {
  DistractorCorpus corpus;
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::directory_iterator(path)) {
      const std::string name = entry.path().filename().string();
      if (!entry.is_regular_file() || name.front() == '.') continue;
      visit_documents(entry.path(), CorpusForm::kTextFile, [&](const Document& document) {
        files[name] = document.text;
        return true;
      });
    }
    corpus.text = join_distractors(files);
  } else {
    visit_documents(path, CorpusForm::kAuto, [&](const Document& document) {
      append_distractor(corpus.text, document.text);
      return true;
    });
  }
  if (corpus.text.empty()) throw InputError("--distractor {}: expected text, found none", path.string());
  if (corpus.text.find(kImageText) != std::string::npos) {
    throw InputError("--distractor {}: expected plain text, found {}, which stands for a picture",
                     path.string(), kImageText);
  }
  corpus.name = (path / "").parent_path().filename().string();
  Sha256 hash;
  hash.add(corpus.text.data(), corpus.text.size());
  corpus.sha256 = hash.finish();
  return corpus;
}

Distractors::Distractors(const std::string& corpus, const Tokenizer& tokenizer)
    : tokenizer_(tokenizer),
      ids_(tokenizer.encode(corpus, {/*add_special=*/false, /*specials_as_text=*/true})) {}

std::string Distractors::text(int64_t tokens) const {
  return tokenizer_.decode(repeat_to(ids_, tokens), /*skip_special=*/false);
}

std::string with_distractor(const std::string& distractor, const std::string& question) {
  return distractor.empty() ? question : distractor + "\n" + question;
}

std::map<int64_t, Fading> fading(const std::map<int64_t, double>& accuracy_by_distance) {
  const auto start = accuracy_by_distance.find(0);
  if (start == accuracy_by_distance.end()) throw InputError("fading: expected a run at distance 0");
  std::map<int64_t, Fading> out;
  for (const auto& [distance, accuracy] : accuracy_by_distance) {
    const double relative = start->second == 0 ? kNan : accuracy / start->second;
    out[distance] = {start->second - accuracy, relative};
  }
  return out;
}

}  // namespace ropescope::eval
