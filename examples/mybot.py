async def reply(event):
    if event.payload == "menu":
        yield "Soup, pasta, or the fish."
        return
    yield f"Hello! You said: {event.text}"
    yield {
        "text": "Shall I read you the menu?",
        "buttons": [{"title": "Please do", "payload": "menu"}],
    }
