#include "ropescope/weights/pickle.h"

#include <bit>
#include <unordered_map>

#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

// Opcodes: CPython's Lib/pickle.py. The text opcodes of protocol 0 and all that makes objects (INST, OBJ,
// NEWOBJ, EXT, ...) are left out on purpose.
enum Opcode : uint8_t {
  kMark = '(',
  kStop = '.',
  kPop = '0',
  kPopMark = '1',
  kDup = '2',
  kBinFloat = 'G',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kNone = 'N',
  kBinPersId = 'Q',
  kReduce = 'R',
  kBinString = 'T',
  kShortBinString = 'U',
  kBinUnicode = 'X',
  kAppend = 'a',
  kBuild = 'b',
  kGlobal = 'c',
  kDict = 'd',
  kAppends = 'e',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kList = 'l',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kSetItem = 's',
  kTuple = 't',
  kSetItems = 'u',
  kEmptyDict = '}',
  kEmptyList = ']',
  kEmptyTuple = ')',
  kBinBytes = 'B',
  kShortBinBytes = 'C',
  kProto = 0x80,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8a,
  kLong4 = 0x8b,
  kShortBinUnicode = 0x8c,
  kBinUnicode8 = 0x8d,
  kBinBytes8 = 0x8e,
  kStackGlobal = 0x93,
  kMemoize = 0x94,
  kFrame = 0x95,
};

class Interpreter {
 public:
  Interpreter(std::span<const std::byte> bytes, uint64_t max_values, const std::string& what)
      : bytes_(bytes), max_values_(max_values), what_(what) {}

  Pickle run() {
    while (true) {
      const auto opcode = number<uint8_t>();
      if (opcode == kStop) break;
      if (!literal(opcode) && !container(opcode) && !reference(opcode)) {
        throw InputError(
            "{}: pickle opcode {:#04x} at byte {}: tensors and plain containers do not need it; refused",
            what_, opcode, at_ - 1);
      }
    }
    result_.root = pop();
    result_.consumed = at_;
    return std::move(result_);
  }

 private:
  /// Numbers, texts and None. False: another kind of opcode.
  bool literal(uint8_t opcode) {
    switch (opcode) {
      case kNone:
        make(PickleNone{});
        return true;
      case kNewTrue:
        make(true);
        return true;
      case kNewFalse:
        make(false);
        return true;
      case kBinInt:
        make(int64_t{number<int32_t>()});
        return true;
      case kBinInt1:
        make(int64_t{number<uint8_t>()});
        return true;
      case kBinInt2:
        make(int64_t{number<uint16_t>()});
        return true;
      case kLong1:
        make_integer(take(number<uint8_t>()));
        return true;
      case kLong4:
        make_integer(take(number<uint32_t>()));
        return true;
      case kBinFloat: {
        uint64_t bits = 0;  // the one big-endian number of the format
        for (const std::byte byte : take(8)) bits = bits << 8 | std::to_integer<uint64_t>(byte);
        make(std::bit_cast<double>(bits));
        return true;
      }
      case kShortBinString:
      case kShortBinUnicode:
        make(text(number<uint8_t>()));
        return true;
      case kBinString:
      case kBinUnicode:
        make(text(number<uint32_t>()));
        return true;
      case kBinUnicode8:
        make(text(number<uint64_t>()));
        return true;
      case kShortBinBytes:
        return skip_bytes(number<uint8_t>());
      case kBinBytes:
        return skip_bytes(number<uint32_t>());
      case kBinBytes8:
        return skip_bytes(number<uint64_t>());
      default:
        return false;
    }
  }

  bool container(uint8_t opcode) {
    switch (opcode) {
      case kMark:
        if (marks_.size() >= max_values_) too_many();
        marks_.push_back(stack_.size());
        return true;
      case kPopMark:
        pop_to_mark();
        return true;
      case kEmptyTuple:
        make(PickleTuple{});
        return true;
      case kTuple1:
      case kTuple2:
      case kTuple3:
        make(PickleTuple{pop_many(size_t{1} + opcode - kTuple1)});
        return true;
      case kTuple:
        make(PickleTuple{pop_to_mark()});
        return true;
      case kEmptyList:
        make(PickleList{});
        return true;
      case kList:
        make(PickleList{pop_to_mark()});
        return true;
      case kAppend:
        append(pop_many(1));
        return true;
      case kAppends:
        append(pop_to_mark());
        return true;
      case kEmptyDict:
        make(PickleDict{});
        return true;
      case kDict: {
        const auto items = pop_to_mark();
        make(PickleDict{});
        set_items(items);
        return true;
      }
      case kSetItem:
        set_items(pop_many(2));
        return true;
      case kSetItems:
        set_items(pop_to_mark());
        return true;
      default:
        return false;
    }
  }

  /// The memo, names, calls and what frames them.
  bool reference(uint8_t opcode) {
    switch (opcode) {
      case kProto: {
        const auto protocol = number<uint8_t>();
        if (protocol < 2 || protocol > 5) {
          throw InputError("{}: expected pickle protocol 2 to 5, found {}", what_, protocol);
        }
        return true;
      }
      case kFrame:
        number<uint64_t>();  // a hint for buffered readers
        return true;
      case kPop:
        pop();
        return true;
      case kDup:
        push(&top());
        return true;
      case kBinPut:
        remember(number<uint8_t>());
        return true;
      case kLongBinPut:
        remember(number<uint32_t>());
        return true;
      case kMemoize:
        remember(memo_.size());
        return true;
      case kBinGet:
        push(recall(number<uint8_t>()));
        return true;
      case kLongBinGet:
        push(recall(number<uint32_t>()));
        return true;
      case kGlobal: {
        const std::string module = line();
        make_global(module, line());
        return true;
      }
      case kStackGlobal: {
        const auto parts = pop_many(2);
        const auto* module = parts[0]->as<std::string>();
        const auto* name = parts[1]->as<std::string>();
        if (module == nullptr || name == nullptr) damaged("a name that is not text");
        make_global(*module, *name);
        return true;
      }
      case kReduce: {
        const auto parts = pop_many(2);
        const auto* function = parts[0]->as<PickleGlobal>();
        const auto* arguments = parts[1]->as<PickleTuple>();
        if (function == nullptr || arguments == nullptr) damaged("a call of something that is no function");
        PickleValue made = describe_call(*function, *arguments, what_);
        make(std::move(made.data));
        return true;
      }
      case kBinPersId: {
        const PickleValue* id = pop();
        make(describe_storage(*id, what_));
        return true;
      }
      case kBuild: {
        // Attributes such as OrderedDict._metadata: not part of the tensors, so they are dropped.
        pop();
        if (top().as<PickleDict>() == nullptr && top().as<PickleTensor>() == nullptr) {
          damaged("attributes of something that is neither dict nor tensor");
        }
        return true;
      }
      default:
        return false;
    }
  }

  [[noreturn]] void damaged(const std::string& found) const {
    throw InputError("{}: damaged pickle: {} before byte {}", what_, found, at_);
  }
  [[noreturn]] void too_many() const {
    throw InputError("{}: the pickle makes more than {} values, too many for a file of its size", what_,
                     max_values_);
  }

  std::span<const std::byte> take(uint64_t count) {
    if (count > bytes_.size() - at_) {
      throw InputError("{}: damaged pickle: {} bytes at byte {} lie beyond its end", what_, count, at_);
    }
    const auto part = bytes_.subspan(at_, count);
    at_ += count;
    return part;
  }
  template <typename T>
  T number() {
    uint64_t value = 0;
    int shift = 0;
    for (const std::byte byte : take(sizeof(T))) {
      value |= std::to_integer<uint64_t>(byte) << shift;
      shift += 8;
    }
    return static_cast<T>(value);
  }
  std::string text(uint64_t count) {
    const auto part = take(count);
    return {reinterpret_cast<const char*>(part.data()), part.size()};
  }
  std::string line() {
    std::string characters;
    for (char c = static_cast<char>(number<uint8_t>()); c != '\n'; c = static_cast<char>(number<uint8_t>())) {
      characters += c;
    }
    return characters;
  }
  bool skip_bytes(uint64_t count) {
    take(count);
    make(PickleOpaque{});
    return true;
  }
  /// Little-endian two's complement of any length.
  void make_integer(std::span<const std::byte> digits) {
    if (digits.size() > 8) {
      make(PickleOpaque{});
      return;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < digits.size(); ++i) value |= std::to_integer<uint64_t>(digits[i]) << (8 * i);
    const bool negative = !digits.empty() && std::to_integer<int>(digits.back()) >= 0x80;
    if (negative && digits.size() < 8) value |= ~uint64_t{0} << (8 * digits.size());
    make(static_cast<int64_t>(value));
  }
  void make_global(const std::string& module, const std::string& name) {
    const auto global = admitted_global(module, name);
    if (!global) {
      throw InputError(
          "{}: the pickle refers to {}.{}, which is neither a tensor nor a plain container; refused "
          "(nothing was run). Try: a checkpoint in safetensors form.",
          what_, module.substr(0, 100), name.substr(0, 100));
    }
    make(*global);
  }

  template <typename T>
  void make(T&& value) {
    if (result_.arena.size() >= max_values_) too_many();
    result_.arena.push_back(PickleValue{std::forward<T>(value)});
    push(&result_.arena.back());
  }
  void push(PickleValue* value) {
    if (stack_.size() >= max_values_) too_many();
    stack_.push_back(value);
  }
  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  PickleValue& top() {
    if (stack_.size() <= floor()) damaged("an empty stack");
    return *stack_.back();
  }
  PickleValue* pop() { return pop_many(1)[0]; }
  std::vector<PickleValue*> pop_many(size_t count) {
    if (stack_.size() - floor() < count) damaged("an empty stack");
    return cut(stack_.size() - count);
  }
  std::vector<PickleValue*> pop_to_mark() {
    if (marks_.empty()) damaged("no mark");
    const size_t begin = marks_.back();
    marks_.pop_back();
    return cut(begin);
  }
  std::vector<PickleValue*> cut(size_t begin) {
    const auto first = stack_.begin() + static_cast<std::ptrdiff_t>(begin);
    std::vector<PickleValue*> values(first, stack_.end());
    stack_.erase(first, stack_.end());
    return values;
  }
  void append(const std::vector<PickleValue*>& values) {
    auto* list = top().as<PickleList>();
    if (list == nullptr) damaged("an append to something that is no list");
    list->items.insert(list->items.end(), values.begin(), values.end());
  }
  void set_items(const std::vector<PickleValue*>& values) {
    auto* dict = top().as<PickleDict>();
    if (dict == nullptr || values.size() % 2 != 0) damaged("items of something that is no dict");
    for (size_t i = 0; i < values.size(); i += 2) dict->items.emplace_back(values[i], values[i + 1]);
  }
  void remember(uint64_t index) {
    if (memo_.size() >= max_values_) too_many();
    memo_[index] = &top();
  }
  PickleValue* recall(uint64_t index) const {
    const auto found = memo_.find(index);
    if (found == memo_.end()) damaged(fmt::format("memo entry {} that was never made", index));
    return found->second;
  }

  std::span<const std::byte> bytes_;
  uint64_t max_values_;
  const std::string& what_;
  uint64_t at_ = 0;
  Pickle result_;
  std::vector<PickleValue*> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint64_t, PickleValue*> memo_;
};

}  // namespace

Pickle read_pickle(std::span<const std::byte> bytes, uint64_t max_values, const std::string& what) {
  return Interpreter(bytes, max_values, what).run();
}

}  // namespace ropescope
