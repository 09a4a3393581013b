// Dark, light, or as the system has it. Loaded before the page is shown, so that it does not flash.

{
  const KEY = "theme";
  const root = document.documentElement;

  // Storage may be closed to a page; the choice then lasts as long as the page.
  const stored = () => {
    try {
      return localStorage.getItem(KEY) ?? "";
    } catch {
      return "";
    }
  };
  const store = (theme) => {
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // It is chosen again next time.
    }
  };
  const show = (theme) => {
    if (theme) root.dataset.theme = theme;
    else delete root.dataset.theme;
    document.dispatchEvent(new Event("theme"));
  };

  show(stored());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => show(root.dataset.theme));
  addEventListener("DOMContentLoaded", () => {
    const choice = document.getElementById("theme");
    choice.value = root.dataset.theme ?? "";
    choice.addEventListener("change", () => {
      store(choice.value);
      show(choice.value);
    });
  });
}
