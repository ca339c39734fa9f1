// What a browser keeps: in this tab, or for the next visit, too. It may refuse to keep anything.
function memory(storage) {
  return {
    read(name, otherwise) {
      try {
        return JSON.parse(storage().getItem(name)) || otherwise;
      } catch (error) {
        return otherwise;
      }
    },
    keep(name, value) {
      try {
        storage().setItem(name, JSON.stringify(value));
      } catch (error) {
        // then this page forgets
      }
    },
    forget(name) {
      try {
        storage().removeItem(name);
      } catch (error) {
        // nothing was kept
      }
    },
  };
}

export const tab = memory(() => sessionStorage);
export const browser = memory(() => localStorage);
