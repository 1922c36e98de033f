#include "ropescope/eval/order_questions.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include <boost/random/uniform_int_distribution.hpp>
#include <fmt/format.h>

#include "ropescope/core/random.h"

namespace ropescope::eval {

namespace {

constexpr std::array<const char*, 7> kHeadings = {"Block",   "Section", "Chapter", "Marker",
                                                  "Segment", "Token",   "Unit"};
constexpr size_t kOptions = 4;

/// From `low` to `high`, both included.
int64_t draw(Rng& rng, int64_t low, int64_t high) {
  return boost::random::uniform_int_distribution<int64_t>(low, high)(rng);
}

template <typename T>
void shuffle(std::vector<T>& values, Rng& rng) {
  for (size_t i = values.size(); i > 1; --i) {
    std::swap(values[i - 1], values[static_cast<size_t>(draw(rng, 0, static_cast<int64_t>(i) - 1))]);
  }
}

struct Thing {
  bool picture = false;
  std::string name;  ///< a colour, or a piece of text
};

std::string new_text(Rng& rng, std::set<std::string>& taken) {
  while (true) {
    const char* const heading = kHeadings[static_cast<size_t>(draw(rng, 0, kHeadings.size() - 1))];
    std::string text = fmt::format("[{}-{}]", heading, draw(rng, 100, 999));
    if (taken.insert(text).second) return text;
  }
}

std::vector<std::string> colours(Rng& rng) {
  std::vector<std::string> names;
  for (const OrderColour& colour : kOrderColours) names.emplace_back(colour.name);
  shuffle(names, rng);
  return names;
}

std::vector<Thing> row_of(int64_t length, Rng& rng, std::set<std::string>& taken) {
  const int64_t pictures = draw(rng, 1, length - 1);
  const std::vector<std::string> names = colours(rng);
  std::vector<Thing> row;
  for (int64_t i = 0; i < length; ++i) {
    row.push_back(i < pictures ? Thing{true, names[static_cast<size_t>(i)]}
                               : Thing{false, new_text(rng, taken)});
  }
  shuffle(row, rng);
  return row;
}

std::string option_text(const Thing& thing) {
  if (!thing.picture) return "Text: \"" + thing.name + "\"";
  std::string name = thing.name;
  name[0] = static_cast<char>(name[0] - 'a' + 'A');
  return name + " image";
}

std::string named(const Thing& thing) {
  return thing.picture ? "the " + thing.name + " image" : "the text \"" + thing.name + "\"";
}

/// Three wrong ones of the right kind: other colours; other texts, those of the row among them.
std::vector<Thing> wrong_options(const Thing& right, const std::vector<Thing>& row, Rng& rng,
                                 std::set<std::string>& taken) {
  std::vector<Thing> others;
  if (right.picture) {
    for (const std::string& name : colours(rng)) {
      if (name != right.name) others.push_back({true, name});
    }
  } else {
    for (const Thing& thing : row) {
      if (!thing.picture && thing.name != right.name) others.push_back(thing);
    }
    for (size_t i = 0; i + 1 < kOptions; ++i) others.push_back({false, new_text(rng, taken)});
    shuffle(others, rng);
  }
  others.resize(kOptions - 1);
  return others;
}

}  // namespace

std::string order_picture_file(const std::string& colour) { return colour + ".png"; }

Json order_question(uint64_t seed, int64_t index) {
  Rng rng = make_rng(seed, {static_cast<uint64_t>(index)});
  const bool easy = draw(rng, 1, 5) <= 3;
  std::set<std::string> taken;
  const std::vector<Thing> row = row_of(easy ? draw(rng, 3, 4) : draw(rng, 5, 7), rng, taken);
  const auto between = static_cast<size_t>(draw(rng, 1, static_cast<int64_t>(row.size()) - 2));
  const Thing& right = row[between];
  std::vector<Thing> options = wrong_options(right, row, rng, taken);
  options.push_back(right);
  shuffle(options, rng);

  std::string question =
      "Pictures of one colour each and pieces of text follow one another. Say what stands directly between two of "
      "them.\n\nFor example, in the row: blue image, Text: \"[Section-331]\", green image, Text: \"[Chapter-990]\" the "
      "text \"[Section-331]\" stands directly between the blue image and the green image.\n\nThis is the row:\n";
  Json images = Json::array();
  for (const Thing& thing : row) {
    question += (thing.picture ? "<image>" : option_text(thing)) + "\n";
    if (thing.picture) images.push_back(order_picture_file(thing.name));
  }
  question += "Question: What stands directly between " + named(row[between - 1]) + " and " +
              named(row[between + 1]) + "?\n";
  std::string answer;
  for (size_t i = 0; i < options.size(); ++i) {
    const auto letter = static_cast<char>('A' + static_cast<int>(i));
    question += std::string(1, letter) + ". " + option_text(options[i]) + "\n";
    if (options[i].name == right.name) answer = letter;
  }
  question += "\nAnswer with the option letter only.";
  return {{"id", index},
          {"question", question},
          {"answer", answer},
          {"tag", std::string(easy ? "easy" : "hard") + (right.picture ? "_image" : "_text")},
          {"images", images}};
}

}  // namespace ropescope::eval
