//! What each key does. Pure.

use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::view::Look;

/// Whether `top` goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Draw again.
    Draw,
    /// End.
    Quit,
    /// The event means nothing.
    Nothing,
}

/// Changes what is looked at. `page` is by how many lines a page moves, `routes` how many routes there are.
pub(super) fn apply(event: &Event, look: &mut Look, page: usize, routes: usize) -> Next {
    let KeyEvent { code, modifiers, kind, .. } = match event {
        Event::Key(key) => *key,
        Event::Resize(..) => return Next::Draw,
        _ => return Next::Nothing,
    };
    if kind == KeyEventKind::Release {
        return Next::Nothing;
    }
    match code {
        KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => return Next::Quit,
        KeyCode::Char('q') | KeyCode::Esc => return Next::Quit,
        KeyCode::Up | KeyCode::Char('k') => look.first = look.first.saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => look.first = look.first.saturating_add(1),
        KeyCode::PageUp => look.first = look.first.saturating_sub(page),
        KeyCode::PageDown | KeyCode::Char(' ') => look.first = look.first.saturating_add(page),
        KeyCode::Home => look.first = 0,
        // drawing brings it back to the last page
        KeyCode::End => look.first = usize::MAX,
        KeyCode::Tab | KeyCode::Right => another_route(look, routes, 1),
        KeyCode::BackTab | KeyCode::Left => another_route(look, routes, routes.saturating_sub(1)),
        KeyCode::Char('s') => look.is_by_lag = !look.is_by_lag,
        KeyCode::Char('?') => {
            look.shows_keys = !look.shows_keys;
            look.first = 0;
        }
        _ => return Next::Nothing,
    }
    Next::Draw
}

fn another_route(look: &mut Look, routes: usize, steps: usize) {
    look.route = (look.route + steps).checked_rem(routes).unwrap_or(0);
    look.first = 0;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(look: &mut Look, code: KeyCode, modifiers: KeyModifiers) -> Next {
        apply(&Event::Key(KeyEvent::new(code, modifiers)), look, 10, 3)
    }

    #[test]
    fn q_escape_and_control_c_quit_and_an_unknown_key_does_nothing() {
        let (mut look, none) = (Look::default(), KeyModifiers::NONE);
        for (code, modifiers, next) in [
            (KeyCode::Char('q'), none, Next::Quit),
            (KeyCode::Esc, none, Next::Quit),
            (KeyCode::Char('c'), KeyModifiers::CONTROL, Next::Quit),
            (KeyCode::Char('c'), none, Next::Nothing),
            (KeyCode::F(5), none, Next::Nothing),
        ] {
            assert_eq!(press(&mut look, code, modifiers), next, "{code:?}");
        }
        assert_eq!(apply(&Event::Resize(80, 24), &mut look, 10, 3), Next::Draw);
        assert_eq!(apply(&Event::FocusLost, &mut look, 10, 3), Next::Nothing);
    }

    #[test]
    fn keys_scroll_and_change_the_route_around() {
        let mut look = Look::default();
        let mut after = |code| {
            assert_eq!(press(&mut look, code, KeyModifiers::NONE), Next::Draw);
            (look.route, look.first)
        };
        let codes = [
            KeyCode::Up,
            KeyCode::Down,
            KeyCode::PageDown,
            KeyCode::PageUp,
            KeyCode::Tab,
            KeyCode::Tab,
            KeyCode::Tab,
            KeyCode::BackTab,
            KeyCode::End,
            KeyCode::Home,
        ];
        let all = [(0, 0), (0, 1), (0, 11), (0, 1), (1, 0), (2, 0), (0, 0), (2, 0), (2, usize::MAX), (2, 0)];
        assert_eq!(codes.map(&mut after), all);
        after(KeyCode::Char('s'));
        after(KeyCode::Char('?'));
        assert!(look.is_by_lag && look.shows_keys);
    }

    #[test]
    fn without_routes_no_key_fails() {
        let mut look = Look { route: 2, ..Look::default() };
        for code in [KeyCode::Tab, KeyCode::BackTab] {
            apply(&Event::Key(KeyEvent::new(code, KeyModifiers::NONE)), &mut look, 0, 0);
            assert_eq!(look.route, 0);
        }
    }
}
