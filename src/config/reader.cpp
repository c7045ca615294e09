#include "config/reader.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <optional>
#include <utility>

#include "config/text.h"

namespace mara::config {
namespace {

/// The whole of `text` as T, or what std::from_chars says against it.
template <class T>
std::errc parse_number(const std::string& text, T& value) {
  const char* begin = text.data() + (text.size() > 1 && text[0] == '+' && text[1] != '-');
  const auto [end, error] = std::from_chars(begin, text.data() + text.size(), value);
  return error == std::errc() && end != text.data() + text.size() ? std::errc::invalid_argument : error;
}

bool octal_looking(const std::string& text) {
  const size_t first = text.find_first_not_of("+-");
  return first != std::string::npos && text[first] == '0' && text.size() > first + 1 && std::isdigit(text[first + 1]);
}

/// "; write 1000" for 1e3, 1_000, 1000.0 and 01000 where an integer is wanted, for 1_000.5 where a number is.
std::string remedy(std::string text, bool integer) {
  text.erase(std::remove(text.begin(), text.end(), '_'), text.end());
  double value = 0;
  if (parse_number(text, value) != std::errc() || !std::isfinite(value)) return "";
  if (!integer) return "; write " + number_text(value);
  if (value != std::trunc(value) || std::abs(value) > 0x1p53) return "";
  return "; write " + std::to_string(static_cast<int64_t>(value));
}

/// One value of a document with its full key: what the conversions below need.
struct Item {
  const Node& node;
  const std::string& key;
  const Check& check;

  [[noreturn]] void wrong_type(const std::string& required, const std::string& remedy = "") const {
    const bool remove_quotes = node.quoted && remedy.empty();
    fail_at(node.where, key,
            required + " is required, got " + describe(node) + (remove_quotes ? "; remove the quotes" : remedy));
  }
  const std::string& scalar(const std::string& required, bool may_be_quoted) const {
    if (node.kind != Node::Kind::scalar || (node.quoted && !may_be_quoted)) wrong_type(required);
    return node.text;
  }
  template <class T>
  void check_range(T value) const {
    if (!check.number || check.number(static_cast<double>(value))) return;
    fail_at(node.where, key, "must be " + check.requirement + ", got " + node.text);
  }

  void read(bool& value) const {
    const std::string& text = scalar("true or false", false);
    if (text != "true" && text != "false") wrong_type("true or false");
    value = text == "true";
  }
  void read(int64_t& value) const {
    const std::string& text = scalar("an integer", false);
    const std::errc error = parse_number(text, value);
    if (error == std::errc::result_out_of_range) {
      fail_at(node.where, key, "an integer of 64 bits is required, " + text + " does not fit");
    }
    // 010 is eight to some readers of YAML and ten to others.
    if (error != std::errc() || octal_looking(text)) wrong_type("an integer", remedy(text, true));
    check_range(value);
  }
  void read(double& value) const {
    const std::string& text = scalar("a number", false);
    const std::errc error = parse_number(text, value);
    if (error == std::errc::result_out_of_range) {
      fail_at(node.where, key, "a number in double precision is required, " + text + " does not fit");
    }
    if (error != std::errc()) wrong_type("a number", remedy(text, false));
    if (!std::isfinite(value)) wrong_type("a finite number");
    check_range(value);
  }
  void read(std::string& value) const {
    value = scalar("text", true);
    const std::vector<std::string>& choices = check.choices;
    if (choices.empty() || std::find(choices.begin(), choices.end(), value) != choices.end()) return;
    const std::string near = nearest(value, choices);
    fail_at(node.where, key,
            "must be " + check.requirement + ", got '" + value + "'" +
                (near.empty() ? "" : "; did you mean '" + near + "'?"));
  }
  template <class T>
  void read(std::vector<T>& values) const {
    std::vector<T> read_values;
    if (std::is_same_v<T, std::string> && node.kind == Node::Kind::scalar) {
      read(read_values.emplace_back());  // one text is a list of one
      values = std::move(read_values);
      return;
    }
    if (node.kind != Node::Kind::list) {
      wrong_type("a " + type_name(values), node.kind == Node::Kind::scalar ? "; write [" + node.text + "]" : "");
    }
    for (const Node& element : node.items) {
      const std::string element_key = key + "[" + std::to_string(read_values.size()) + "]";
      Item{element, element_key, check}.read(read_values.emplace_back());
    }
    values = std::move(read_values);
  }
};

class Reader final : public Fields {
 public:
  explicit Reader(const Node& root) { frames_.push_back({&root, root.where, ""}); }

  void leave() override {
    const Frame frame = std::move(frames_.back());
    frames_.pop_back();
    if (!frame.mapping) return;
    for (size_t i = 0; i < frame.mapping->keys.size(); ++i) {
      const std::string& key = frame.mapping->keys[i];
      if (std::find(frame.known.begin(), frame.known.end(), key) != frame.known.end()) continue;
      fail_at(frame.mapping->items[i].where, join_key(frame.path, key),
              "unknown key" + (frame.kind.empty() ? "" : " for kind '" + frame.kind + "'") +
                  suggestion(key, frame.known, "valid keys"));
    }
    // Only now: a missing key is often a misspelt one, which the loop above says better.
    if (frame.missing) throw Error(*frame.missing);
  }

  void kind(const char* key, std::string& value, const std::vector<std::string>& names, const char*,
            const std::function<void(const std::string&)>& bind) override {
    const Check check = one_of(names);
    const Node* node = find(key);
    Frame& frame = frames_.back();
    if (!node) {
      note_missing(key, check.requirement);
      if (!frame.mapping) return;
      // Without its kind the other keys of this mapping mean nothing.
      const std::string near = nearest(key, frame.mapping->keys);
      throw Error(*frame.missing + (near.empty() ? "" : "; is '" + near + "' meant to be it?"));
    }
    Item{*node, join_key(frame.path, key), check}.read(value);
    frame.kind = value;
    bind(value);
  }

  void require(bool holds, const char* key, const std::string& requirement) override {
    const Frame& frame = frames_.back();
    if (holds || nearest_present().missing) return;
    const Node* node = frame.mapping ? frame.mapping->find(key) : nullptr;
    fail_at(node ? node->where : frame.where, join_key(frame.path, key), requirement);
  }

 protected:
  void visit(const Info& info, Ref value) override {
    if (const Node* node = find(info.key)) {
      const std::string key = join_key(frames_.back().path, info.key);
      std::visit([&](auto ref) { Item{*node, key, info.check}.read(ref.get()); }, value);
    } else if (info.required) {
      note_missing(info.key, type_name(value) + (info.check.requirement.empty() ? "" : ", " + info.check.requirement));
    }
  }

  void enter(const char* key, const char*) override {
    const Node* node = find(key);
    const Frame& outer = frames_.back();
    const std::string path = join_key(outer.path, key);
    if (node && node->kind != Node::Kind::mapping) {
      fail_at(node->where, path, "a mapping of keys to values is required, got " + describe(*node));
    }
    frames_.push_back({node, node ? node->where : outer.where, path});
  }
  bool enter_optional(const char* key, const char* help, bool) override {
    if (!find(key)) return false;
    enter(key, help);
    return true;
  }

 private:
  struct Frame {
    const Node* mapping;  // null: left out of the document
    std::string where;    // of it or of the nearest mapping around it that is there
    std::string path;
    std::vector<std::string> known = {};
    std::string kind = "";
    std::optional<std::string> missing = {};  // message about the first missing key, of absent mappings inside too
  };

  /// The value of a key, which is known from now on.
  const Node* find(const char* key) {
    Frame& frame = frames_.back();
    if (std::find(frame.known.begin(), frame.known.end(), key) == frame.known.end()) frame.known.push_back(key);
    return frame.mapping ? frame.mapping->find(key) : nullptr;
  }
  void note_missing(const char* key, const std::string& requirement) {
    std::optional<std::string>& missing = nearest_present().missing;
    if (missing) return;
    const Frame& frame = frames_.back();
    missing = frame.where + ": " + join_key(frame.path, key) + ": missing key; required: " + requirement;
  }
  Frame& nearest_present() {
    return *std::find_if(frames_.rbegin(), frames_.rend(), [](const Frame& frame) { return frame.mapping != nullptr; });
  }

  std::vector<Frame> frames_;
};

}  // namespace

void read_node(const Node& root, const std::function<void(Fields&)>& bind) {
  Reader reader(root);
  bind(reader);
  reader.leave();
}

}  // namespace mara::config
